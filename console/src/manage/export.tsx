/** The export of the records that are shown. */
export function Export() {
  return null;
}
