/** The caller: scopes, password, token. */
export function Account() {
  return null;
}
