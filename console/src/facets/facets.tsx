/** The values and ranges of the fields of the records that are shown, beside the table. */
export function Facets() {
  return null;
}
