/** What can be done with the selected records. */
export function SelectionBar() {
  return null;
}
