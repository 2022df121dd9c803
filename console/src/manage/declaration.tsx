/** The declaration of the record type, and the lines for a new field. */
export function Declaration() {
  return null;
}
