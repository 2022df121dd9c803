// The columns that the user has chosen. The browser remembers them for each collection.

import { signal } from "@preact/signals";
import { go } from "../place";

const KEY = "cinequery.columns";

/** Changes with what is remembered. It is read when it is needed: before, it can be what another user has left. */
const changes = signal(0);

function all(): Map<string, string[]> {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    const lists = Object.entries(stored ?? {}).filter(([, list]) => Array.isArray(list));
    return new Map(lists.map(([collection, list]) => [collection, (list as unknown[]).map(String)]));
  } catch {
    return new Map();
  }
}

/** The names of the columns that were chosen last; none for the default. */
export function rememberedColumns(collection: string): string[] {
  changes.value;
  return all().get(collection) ?? [];
}

/** Shows columns, here and where the place names none. No columns are the default ones. */
export function chooseColumns(collection: string, columns: string[]): void {
  const next = all();
  if (columns.length > 0) next.set(collection, columns);
  else next.delete(collection);
  try {
    localStorage.setItem(KEY, JSON.stringify(Object.fromEntries(next)));
  } catch {
    // The storage is full or not allowed: the place has the columns until it is left.
  }
  changes.value++;
  go({ columns }, { replace: true });
}
