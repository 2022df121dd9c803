/** The import of a file: preview, mapping, problems, import. */
export function Import() {
  return null;
}
