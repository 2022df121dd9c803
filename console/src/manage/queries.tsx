/** The saved queries of the collection. */
export function Queries() {
  return null;
}
