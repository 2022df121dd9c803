// The rows that are shown, and the selected ones.

import { computed, effect, signal } from "@preact/signals";
import { applied } from "../query/state";
import type { Item } from "../schema";
import { Rows } from "./rows";

export const rows = signal<Rows | undefined>(undefined);


/** The selected records by id, as they were when they were selected. */
export const selected = signal<ReadonlyMap<string, Item>>(new Map());

export const selectedCount = computed(() => selected.value.size);

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
  if (before?.search.key !== search.key) selected.value = new Map();
  rows.value = new Rows(search);
});
