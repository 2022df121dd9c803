/** How the database runs the search: the plan, its indexes, the SQL, and the limits. */
export function Explain() {
  return null;
}
