// The order of the rows as text: `release_year desc, title`.

export interface Key {
  name: string;
  descending: boolean;
}

export function keysOf(orderBy: string): Key[] {
  return orderBy
    .split(",")
    .map((part) => part.trim().split(/\s+/))
    .flatMap(([name, direction]) => (name ? [{ name, descending: direction?.toLowerCase() === "desc" }] : []));
}

export function textOf(keys: Key[]): string {
  return keys.map(({ name, descending }) => (descending ? `${name} desc` : name)).join(", ");
}

/** The order after a click on a column: ascending, then descending, then without it. Keeps the other keys if `add` is set. */
export function clicked(orderBy: string, name: string, add: boolean): string {
  const keys = keysOf(orderBy);
  const present = keys.find((key) => key.name === name);
  const next = !present ? { name, descending: false } : present.descending ? undefined : { name, descending: true };
  if (!add) return textOf(next ? [next] : []);
  if (!present) return textOf([...keys, { name, descending: false }]);
  return textOf(keys.flatMap((key) => (key === present ? (next ? [next] : []) : [key])));
}
