/** The open record: the form, its history, and why a filter matches it or not. */
export function RecordPanel() {
  return null;
}
