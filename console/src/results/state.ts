// The rows that are shown, and the selected ones.

import { parse, stringify } from "../api/exact";
import { effect, signal } from "@preact/signals";
import { applied } from "../query/state";
import type { Item } from "../schema";
import { Rows } from "./rows";

export const rows = signal<Rows | undefined>(undefined);

/** The number of writes so far. An open record and the facets are loaded again when it changes. */
export const writes = signal(0);

/** The selected records by id, as they were when they were selected. */
export const selected = signal<ReadonlyMap<string, Item>>(new Map());

/** The number of records that can be selected: a batch has at most that many. */
export const MAX_SELECTED = 1000;

export function select(items: Item[], isSelected: boolean): void {
  const next = new Map(selected.peek());
  for (const item of items) {
    if (isSelected && next.size < MAX_SELECTED) next.set(item.id, item);
    if (!isSelected) next.delete(item.id);
  }
  selected.value = next;
}

effect(() => {
  const search = applied.value;
  if (!search) return;
  const before = rows.peek();
  before?.close();
  if (before?.search.key !== search.key) selected.value = kept(search.key);
  rows.value = new Rows(search, before);
});

/** Resolves when the first rows of the page are loaded, or could not be. */
export const firstRows = new Promise<void>((done) => {
  const stop = effect(() => {
    const current = rows.value;
    if (!current || current.changes.value === 0 || current.loading) return;
    done();
    queueMicrotask(() => stop());
  });
});

// A reload keeps the selection, for the search in which it was made.

const SELECTION = "cinequery.selection";

function kept(key: string): ReadonlyMap<string, Item> {
  try {
    const stored = parse(sessionStorage.getItem(SELECTION) ?? "{}") as { key?: string; items?: Item[] };
    return new Map(stored.key === key ? stored.items?.map((item) => [item.id, item]) : []);
  } catch {
    return new Map();
  }
}

effect(() => {
  const items = [...selected.value.values()];
  const key = rows.value?.search.key;
  if (key === undefined) return;
  try {
    if (items.length > 0) sessionStorage.setItem(SELECTION, stringify({ key, items }));
    else sessionStorage.removeItem(SELECTION);
  } catch {
    // The storage is full: the selection is kept until the page is closed.
  }
});
