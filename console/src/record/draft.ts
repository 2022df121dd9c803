// The values of a form as they are typed, and what they change. Unsaved ones survive a reload.

import { integerOf, parse, stringify } from "../api/exact";
import type { FieldSchema, RecordType } from "../api/document";
import type { Item, Value } from "../schema";
import type { Values } from "./writes";

/** The typed values by field. `null` is no value; a text is not checked before it is sent. */
export type Draft = Record<string, string | null>;

export function writableFields(type: RecordType): FieldSchema[] {
  return type.fields.filter((field) => field.writable);
}

/** The value of a field before the user has typed: that of the record, or the default of a new one. */
export function startOf(field: FieldSchema, item: Item | undefined): string | null {
  const value = item ? item[field.name] : (field.default as Value | undefined);
  if (value === null || value === undefined) return field.nullable ? null : "";
  return String(value);
}

export function draftOf(type: RecordType, item?: Item): Draft {
  return Object.fromEntries(writableFields(type).map((field) => [field.name, startOf(field, item)]));
}

/** A typed value as it is sent. What is not valid is sent as it is, so that the service says what it expects. */
export function valueOf(field: FieldSchema, typed: string | null): Value {
  if (typed === null || field.type === "text") return typed;
  const text = typed.trim();
  if (text === "") return null;
  if (field.type === "boolean") return text === "true";
  return field.type === "integer" ? integerOf(text) : text;
}

/** The fields whose typed values differ from those of the record. */
export function changesOf(type: RecordType, base: Item, draft: Draft): Values {
  const changes: Values = {};
  for (const field of writableFields(type)) {
    const typed = draft[field.name] ?? null;
    if (typed !== startOf(field, base)) changes[field.name] = valueOf(field, typed);
  }
  return changes;
}

/** The values of a new record. A required field without a value is left out, so that its default holds or it is missing. */
export function valuesOf(type: RecordType, draft: Draft): Values {
  const values: Values = {};
  for (const field of writableFields(type)) {
    const typed = draft[field.name] ?? null;
    if (typed !== "" || (field.min_length === 0 && field.type === "text")) values[field.name] = valueOf(field, typed);
  }
  return values;
}

export function isSame(type: RecordType, one: Draft, other: Draft): boolean {
  return writableFields(type).every(({ name }) => (one[name] ?? null) === (other[name] ?? null));
}

/** What is kept of a form: the typed values, and the version of the record that they are based on. */
interface Kept {
  base?: Item;
  draft: Draft;
}

const KEPT = "cinequery.draft";

function nameOf(collection: string, id: string): string {
  return `${KEPT}.${collection}.${id}`;
}

export function kept(collection: string, id: string): Kept | undefined {
  try {
    return (parse(sessionStorage.getItem(nameOf(collection, id)) ?? "null") as Kept | null) ?? undefined;
  } catch {
    return undefined;
  }
}

export function keep(collection: string, id: string, form: Kept): void {
  try {
    sessionStorage.setItem(nameOf(collection, id), stringify(form));
  } catch {
    // The storage is full or not allowed: the form itself still has the values.
  }
}

export function forget(collection: string, id: string): void {
  sessionStorage.removeItem(nameOf(collection, id));
}
