// Which facets are shown, and how. The browser remembers it for each collection.

import { signal } from "@preact/signals";
import type { FieldSchema, RecordType } from "../api/document";
import { FORGOTTEN } from "../session";

interface Settings {
  /** The fields that the user has chosen; the default ones without a choice. */
  shown?: string[];
  /** The fields with too many values to choose from, which the default leaves out. */
  crowded?: string[];
  /** The fields of days that are shown by month from today. */
  byMonth?: string[];
}

const KEY = "cinequery.facets";

const all = signal<Record<string, Settings>>(stored());

/** The settings when the page was opened: a facet that turns out to be crowded stays to say so, and is left out next time. */
const before = all.peek();

addEventListener(FORGOTTEN, () => (all.value = stored()));

function stored(): Record<string, Settings> {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "{}") as Record<string, Settings>;
  } catch {
    return {};
  }
}

function change(collection: string, settings: Settings): void {
  all.value = { ...all.peek(), [collection]: { ...all.peek()[collection], ...settings } };
  try {
    localStorage.setItem(KEY, JSON.stringify(all.peek()));
  } catch {
    // The storage is full or not allowed: the choice lasts until the page is left.
  }
}

/** The fields that can be facets. Ids and versions say nothing about the records. */
export function suitable(type: RecordType): FieldSchema[] {
  return type.fields.filter((field) => field.type !== "id" && (field.writable || field.name !== "version"));
}

/** The fields that are shown: the chosen ones, or those that users write and that have few values. */
export function shownFields(type: RecordType): FieldSchema[] {
  const { shown } = all.value[type.collection] ?? {};
  const crowded = before[type.collection]?.crowded ?? [];
  if (shown) return suitable(type).filter(({ name }) => shown.includes(name));
  return suitable(type).filter(({ name, writable }) => writable && !crowded.includes(name));
}

export function show(type: RecordType, name: string, isShown: boolean): void {
  const names = shownFields(type).map((field) => field.name);
  change(type.collection, { shown: isShown ? [...names, name] : names.filter((other) => other !== name) });
}

/** Whether the user has chosen a field. */
export function isChosen(type: RecordType, name: string): boolean {
  return all.value[type.collection]?.shown?.includes(name) ?? false;
}

/** Whether a field has too many values to choose from, as far as it is known. */
export function isCrowded(type: RecordType, name: string): boolean {
  return (all.value[type.collection]?.crowded ?? []).includes(name);
}

/** Leaves a field out of the default. */
export function markCrowded(type: RecordType, name: string): void {
  if (isCrowded(type, name)) return;
  change(type.collection, { crowded: [...(all.peek()[type.collection]?.crowded ?? []), name] });
}

export function isByMonth(type: RecordType, name: string): boolean {
  return (all.value[type.collection]?.byMonth ?? []).includes(name);
}

export function setByMonth(type: RecordType, name: string, isOn: boolean): void {
  const others = (all.peek()[type.collection]?.byMonth ?? []).filter((other) => other !== name);
  change(type.collection, { byMonth: isOn ? [...others, name] : others });
}
