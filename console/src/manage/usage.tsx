/** The requests by user and day. */
export function Usage() {
  return null;
}
