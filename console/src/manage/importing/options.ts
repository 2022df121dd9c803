// The options of an import, and the forms in which its request has them.

import type { DateOrder, FileEncoding, FileFormat, OnConflict } from "../../api/document";
import type { Query } from "../../api/client";

/** A column with a field that it is read into. */
export interface Entry {
  column: string;
  field: string;
  /** Whether the field gets the year of the column's dates. */
  isYear: boolean;
}

export interface ImportOptions {
  /** Empty if the service recognises it. */
  format: FileFormat | "";
  encoding: FileEncoding | "";
  sheet: string;
  headerRow: string;
  dates: DateOrder | "";
  onConflict: OnConflict;
  mapping: Entry[];
  /** Values for fields of which a row has none. */
  values: Record<string, string>;
}

export const DEFAULT: ImportOptions = {
  format: "",
  encoding: "",
  sheet: "",
  headerRow: "",
  dates: "",
  onConflict: "fail",
  mapping: [],
  values: {},
};

/** The options that decide which columns a file has. */
const READING = ["format", "encoding", "sheet", "headerRow"] as const;

/** Whether a change of options makes the columns others, so that a mapping may name columns that are not there. */
export function changesColumns(change: Partial<ImportOptions>): boolean {
  return READING.some((name) => name in change);
}

/** The query parameters of an import. */
export function queryOf(options: ImportOptions): Query {
  const values = Object.entries(options.values).filter(([, value]) => value !== "");
  return {
    format: options.format,
    encoding: options.encoding,
    sheet: options.sheet,
    header_row: options.headerRow,
    dates: options.dates,
    on_conflict: options.onConflict,
    map: mappingText(options.mapping),
    set: values.map(([field, value]) => `${field}=${quoted(value, /[,"]/)}`).join(","),
  };
}

/** The orders of dates in words. */
export const ORDERS: [DateOrder, string][] = [
  ["dmy", "day/month/year"],
  ["mdy", "month/day/year"],
  ["ymd", "year/month/day"],
];

/** A change of the order of dates as the service proposes it, such as `dates=dmy`, in words. */
export function proposalOf(parameter: string): { text: string; changes: Partial<ImportOptions> } | undefined {
  const order = ORDERS.find(([name]) => parameter === `dates=${name}`);
  return order && { text: `Read dates as ${order[1]}`, changes: { dates: order[0] } };
}

/** Writes a mapping as the parameter `map` has it. */
export function mappingText(mapping: Entry[]): string {
  return mapping
    .map(({ column, field, isYear }) => {
      const name = quoted(column, /[,="]|^year\(/);
      return `${isYear ? `year(${name})` : name}=${field}`;
    })
    .join(",");
}

/** Reads a mapping; entries that are not finished are left out. */
export function parseMapping(text: string): Entry[] {
  return split(text, ",").flatMap((entry) => {
    const [left = "", right = "", ...rest] = split(entry, "=").map((side) => side.trim());
    const inner = /^year\((.*)\)$/s.exec(left)?.[1];
    const column = unquoted(inner ?? left);
    const field = unquoted(right);
    return column && field && rest.length === 0 ? [{ column, field, isYear: inner !== undefined }] : [];
  });
}

/** Splits a text at a character outside double quotes. */
function split(text: string, at: string): string[] {
  const parts = [""];
  let isQuoted = false;
  for (const character of text) {
    if (character === '"') isQuoted = !isQuoted;
    if (character === at && !isQuoted) parts.push("");
    else parts[parts.length - 1] += character;
  }
  return parts;
}

function quoted(text: string, special: RegExp): string {
  return special.test(text) || text.trim() !== text ? `"${text.replaceAll('"', '""')}"` : text;
}

function unquoted(text: string): string {
  const inner = /^"(.*)"$/s.exec(text.trim())?.[1];
  return inner === undefined ? text.trim() : inner.replaceAll('""', '"');
}
