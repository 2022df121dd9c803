// What the user has changed in this tab, the newest first. A reload keeps it, with the versions that an undo needs.

import { signal } from "@preact/signals";
import { parse, stringify } from "../api/exact";
import type { RecordType } from "../api/document";
import { FORGOTTEN } from "../session";
import { notify } from "../ui/notices";

/** A record with its versions before and after a change; 0 if there was or is none. */
export type Touched = [id: string, before: number, after: number];

export interface Change {
  id: number;
  at: string;
  collection: string;
  text: string;
  kind: "created" | "changed" | "deleted";
  /** The records whose change can be undone; empty if they are too many to be kept. */
  records: Touched[];
  isUndone: boolean;
}

const RECENT = "cinequery.recent";
/** The number of changes that are kept. */
const MAX_CHANGES = 20;
/** The number of records of a change whose versions are kept. */
export const MAX_KEPT = 2000;

export const recent = signal<Change[]>(stored());

addEventListener(FORGOTTEN, () => (recent.value = stored()));

function stored(): Change[] {
  try {
    const changes: unknown = parse(sessionStorage.getItem(RECENT) ?? "[]");
    return Array.isArray(changes) ? (changes as Change[]) : [];
  } catch {
    return [];
  }
}

function keep(changes: Change[]): void {
  recent.value = changes;
  try {
    sessionStorage.setItem(RECENT, stringify(changes));
  } catch {
    // The storage is full or not allowed: the changes are listed until the page is left.
  }
}

/** The undo of changes since the page was loaded. It knows the values before, so it needs no journal. */
const undos = new Map<number, () => Promise<void>>();

/** Lists a change, and shows a notice with its undo. */
export function report(
  { collection }: RecordType,
  kind: Change["kind"],
  text: string,
  records: Touched[],
  undo?: () => Promise<void>,
): void {
  const id = (recent.peek()[0]?.id ?? 0) + 1;
  const kept = records.length > MAX_KEPT ? [] : records;
  const change = { id, at: new Date().toISOString(), collection, text, kind, records: kept, isUndone: false };
  keep([change, ...recent.peek()].slice(0, MAX_CHANGES));
  undos.delete(id - MAX_CHANGES);
  if (!undo) return notify(text);
  undos.set(id, async () => {
    // The notice and the list have it both.
    if (recent.peek().some((other) => other.id === id && other.isUndone)) return notify("This was undone already");
    await undo();
    settle(id, []);
  });
  notify(text, undos.get(id));
}

/** The undo of a change; `undefined` if it was made before the page was loaded. */
export function undoOf({ id }: Change): (() => Promise<void>) | undefined {
  return undos.get(id);
}

/** Notes that a change was undone, except for some records, which can be tried again. */
export function settle(id: number, rest: Touched[]): void {
  const note = (change: Change) => (change.id === id ? { ...change, records: rest, isUndone: rest.length === 0 } : change);
  keep(recent.peek().map(note));
}
