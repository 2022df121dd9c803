/** The users and their roles. */
export function Users() {
  return null;
}
