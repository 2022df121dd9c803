// Writes of single records. Each one is reported with a way to undo it, and is in the table at once.

import { stringify } from "../api/exact";
import { Failure, json } from "../api/client";
import type { ChangePage, RecordType } from "../api/document";
import { refresh } from "../query/state";
import { rows, writes } from "../results/state";
import { pathOf, titleOf } from "../schema";
import type { Item, Value } from "../schema";
import { notify } from "../ui/notices";
import { report } from "./recent";
import type { Touched } from "./recent";

export type Values = Record<string, Value>;

/**
 * The headers of a write. `request` repeats one for which the service was too busy; with the key of the first attempt
 * it gets the first result.
 */
export function writing(version?: number): Record<string, string> {
  const key = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const headers: Record<string, string> = { "Idempotency-Key": key };
  if (version !== undefined) headers["If-Match"] = `"${version}"`;
  return headers;
}

/** The keys of writes without a definite response yet, by what is written. */
const KEYS = "cinequery.draft.key.";
const open = new Map<string, string>();

/**
 * Sends a POST with a key that stays the same for the same path, version and values until there is a definite
 * response (2xx or 4xx). Otherwise a second click after a lost response would carry out the write twice.
 */
async function post<T>(path: string, values: unknown, version?: number): Promise<T> {
  const what = `${KEYS}${stringify([path, version, values])}`;
  const headers = writing(version);
  const key = open.get(what) ?? stored(what) ?? headers["Idempotency-Key"] ?? "";
  headers["Idempotency-Key"] = key;
  open.set(what, key);
  try {
    sessionStorage.setItem(what, key);
  } catch {
    // The storage is full or not allowed: the key is still known until a reload.
  }
  const settle = () => {
    open.delete(what);
    try {
      sessionStorage.removeItem(what);
    } catch {
      // The storage is not allowed, so it has no key.
    }
  };
  try {
    const result = await json<T>(path, { method: "POST", headers, json: values });
    settle();
    return result;
  } catch (error) {
    const status = error instanceof Failure ? (error.problem.status ?? 0) : 0;
    const isDefinite = status >= 400 && status < 500 && ![401, 408, 425, 429].includes(status);
    const isInProgress = status === 409 && error instanceof Failure && error.code !== "duplicate";
    if (isDefinite && !isInProgress) settle();
    throw error;
  }
}

function stored(name: string): string | undefined {
  try {
    return sessionStorage.getItem(name) ?? undefined;
  } catch {
    return undefined;
  }
}

function recordPath(type: RecordType, id: string, rest = ""): string {
  return pathOf(type, `/${encodeURIComponent(id)}${rest}`);
}

export function read(type: RecordType, id: string, signal?: AbortSignal): Promise<Item> {
  return json<Item>(recordPath(type, id), signal ? { signal } : {});
}

/** Shows a record that was changed, without a new search: it keeps its place. */
function showChanged(item: Item): void {
  rows.peek()?.replace(item);
  writes.value++;
}

/** Searches again for a record that came or went. */
export function showAnew(): void {
  refresh();
  writes.value++;
}

export async function removed(type: RecordType, id: string, version: number): Promise<void> {
  await json(recordPath(type, id), { method: "DELETE", headers: { "If-Match": `"${version}"` } });
  showAnew();
}

/** Sets the fields to those of an earlier version. A version that is replaced must be named, unless the record is deleted. */
export async function restored(type: RecordType, id: string, version: number, replaced?: number): Promise<Restored> {
  return post<Restored>(recordPath(type, id, "/restore"), { version }, replaced);
}

export interface Restored {
  record: Item;
  left_out: string[];
}

async function patched(type: RecordType, id: string, version: number, changes: Values): Promise<Item> {
  const headers = { ...writing(version), "Content-Type": "application/merge-patch+json" };
  const item = await json<Item>(recordPath(type, id), { method: "PATCH", headers, json: changes });
  showChanged(item);
  return item;
}

export async function create(type: RecordType, values: Values): Promise<Item> {
  const item = await post<Item>(pathOf(type), values);
  showAnew();
  reportCreated(type, item, "Created");
  return item;
}

function reportCreated(type: RecordType, item: Item, what: string): void {
  report(type, "created", `${what} “${titleOf(type, item)}”`, [[item.id, 0, item.version]], async () => {
    await removed(type, item.id, item.version);
    notify(`Deleted “${titleOf(type, item)}” again`);
  });
}

/** Changes fields of a version of a record. */
export async function change(type: RecordType, base: Item, changes: Values): Promise<Item> {
  const item = await patched(type, base.id, base.version, changes);
  if (item.version === base.version) notify("The record has these values already");
  else {
    const touched: Touched[] = [[item.id, base.version, item.version]];
    report(type, "changed", `Changed “${titleOf(type, item)}”`, touched, () => changeBack(type, base, item, Object.keys(changes)));
  }
  return item;
}

async function changeBack(type: RecordType, before: Item, after: Item, fields: string[]): Promise<void> {
  const item = await patched(type, after.id, after.version, pick(before, fields));
  notify(`Changed “${titleOf(type, item)}” back`);
}

export function pick(item: Item, fields: string[]): Values {
  return Object.fromEntries(fields.map((name) => [name, item[name] ?? null]));
}

/** Deletes a version of a record. Without a journal this cannot be undone. */
export async function remove(type: RecordType, item: Item): Promise<void> {
  const isKept = await hasJournal(type);
  await removed(type, item.id, item.version);
  const undo = async () => {
    const { record } = await restored(type, item.id, item.version);
    showAnew();
    notify(`Restored “${titleOf(type, record)}”`);
  };
  report(type, "deleted", `Deleted “${titleOf(type, item)}”`, [[item.id, item.version, 0]], isKept ? undo : undefined);
}

/** Sets the fields to those of an earlier version. `current` is the version that is replaced; none if the record is deleted. */
export async function restore(type: RecordType, id: string, version: number, current?: Item): Promise<void> {
  const { record, left_out } = await restored(type, id, version, current?.version);
  const note = left_out.length > 0 ? `, without fields that are no longer declared: ${left_out.join(", ")}` : "";
  if (!current) {
    showAnew();
    reportCreated(type, record, "Restored");
    return;
  }
  showChanged(record);
  const text = `Restored version ${version} of “${titleOf(type, record)}”${note}`;
  report(type, "changed", text, [[id, current.version, record.version]], async () => {
    const { record: back } = await restored(type, id, current.version, record.version);
    showChanged(back);
    notify(`Changed “${titleOf(type, back)}” back`);
  });
}

/** Creates a record that was deleted meanwhile again: with its id if the journal has it, else as a new one. */
export async function recreate(type: RecordType, base: Item, changes: Values, values: Values): Promise<void> {
  let record: Item;
  try {
    ({ record } = await restored(type, base.id, base.version));
  } catch (error) {
    if (!(error instanceof Failure) || error.code !== "not_found") throw error;
    await create(type, values);
    return;
  }
  const item = Object.keys(changes).length > 0 ? await patched(type, record.id, record.version, changes) : record;
  showAnew();
  reportCreated(type, item, "Created again:");
}

const journals = new Map<string, Promise<boolean>>();

/** Returns whether the changes of a collection are kept in the journal. */
export function hasJournal(type: RecordType): Promise<boolean> {
  const known = journals.get(type.collection) ?? askJournal(type.collection);
  journals.set(type.collection, known);
  known.catch(() => journals.delete(type.collection));
  return known;
}

async function askJournal(collection: string): Promise<boolean> {
  try {
    await json<ChangePage>("api/v1/changes", { query: { collection, limit: 1 } });
    return true;
  } catch (error) {
    if (error instanceof Failure && error.code === "invalid_parameter") return false;
    throw error;
  }
}
