// The record types of the service, and the forms in which their values are shown.

import { computed, signal } from "@preact/signals";
import { json } from "./api/client";
import type { CatalogueSchema, FieldSchema, FieldType, RecordType } from "./api/document";
import { place } from "./place";
import { rememberedColumns } from "./results/columns";

/** A record as the service returns it. */
export type Item = Record<string, Value> & { id: string; version: number };
export type Value = string | number | bigint | boolean | null;

export const catalogue = signal<CatalogueSchema | undefined>(undefined);

export async function loadCatalogue(): Promise<void> {
  catalogue.value = await json<CatalogueSchema>("api/v1/schema");
}

/** The record type of the place; the first one if the place names none. */
export const recordType = computed<RecordType | undefined>(() => {
  const types = catalogue.value?.record_types ?? [];
  const name = place.value.collection;
  return name ? types.find((type) => type.collection === name) : types[0];
});

/** The path of the collection, without the first slash. */
export function pathOf(type: RecordType, rest = ""): string {
  return `api/v1/${type.collection}${rest}`;
}

/** The fields that a table shows without a choice: those that users write. */
export function defaultColumns(type: RecordType): FieldSchema[] {
  return type.fields.filter((field) => field.writable);
}

/** The columns of the place that exist, those that were chosen last, or the default ones. */
export function columnsOf(type: RecordType, chosen: string[]): FieldSchema[] {
  const names = chosen.length > 0 ? chosen : rememberedColumns(type.collection);
  const found = names.flatMap((name) => type.fields.filter((field) => field.name === name));
  return found.length > 0 ? found : defaultColumns(type);
}

/** The field that names a record for people: the first text. */
export function nameField(type: RecordType): FieldSchema | undefined {
  return type.fields.find((field) => field.writable && field.type === "text");
}

export function titleOf(type: RecordType, item: Item): string {
  const field = nameField(type);
  const title = field && item[field.name];
  return title ? String(title) : item.id;
}

/** `release_year` as people read it: "Release year". */
export function label(name: string): string {
  const words = name.replace(/_/g, " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

const DAY = 24 * 60 * 60 * 1000;
/** Created when it is needed: the first object of `Intl` takes 40 ms, for which the first rows would wait. */
let moment: Intl.DateTimeFormat | undefined;

/** A number of things with separators of thousands. */
export function count(number: number): string {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** A value as text for people. Dates stay as they are written in filters. */
export function shown(type: FieldType, value: Value | undefined): string {
  if (value === null || value === undefined) return "";
  if (type !== "timestamp") return String(value);
  moment ??= new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  return moment.format(new Date(String(value)));
}

/** How far a date or a time is from now, such as "in 3 days". */
export function distance(type: FieldType, value: Value | undefined, now = new Date()): string | undefined {
  if (typeof value !== "string" || (type !== "date" && type !== "timestamp")) return undefined;
  const today = Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate());
  const days =
    type === "date" ? Math.round((Date.parse(value) - today) / DAY) : (Date.parse(value) - now.getTime()) / DAY;
  if (Number.isNaN(days)) return undefined;
  const size = Math.abs(days);
  if (size < 1 && type === "timestamp") {
    const minutes = Math.trunc(days * 24 * 60);
    if (minutes === 0) return "just now";
    return Math.abs(minutes) < 60 ? away(minutes, "minute") : away(Math.trunc(minutes / 60), "hour");
  }
  if (Math.round(size) <= MAX_DAYS) return NEAR[Math.round(days)] ?? away(Math.round(days), "day");
  const months = Math.round(days / 30.44);
  if (Math.abs(months) <= MAX_MONTHS) return away(months, "month");
  // Full years: what ended 35 months ago is not yet 3 years past.
  return away(Math.trunc(days / 365.25), "year");
}

/** Up to so many days and months a distance is written in them; a year and a half is neither 1 nor 2 years. */
const MAX_DAYS = 60;
const MAX_MONTHS = 24;

const NEAR: Record<number, string> = { [-1]: "yesterday", 0: "today", 1: "tomorrow" };

/** A distance in the language of the page. */
function away(number: number, unit: string): string {
  const size = Math.abs(number);
  const distance = `${size} ${unit}${size === 1 ? "" : "s"}`;
  return number < 0 ? `${distance} ago` : `in ${distance}`;
}
