// The rules of the service for a new field, so that the lines are accepted when it starts.

import type { FieldType, RecordType } from "../../api/document";
import { identifier } from "../identifier";
import { MANAGED } from "./toml";
import type { Declared } from "./toml";

/** The longest name in bytes: with the ending of its folded column it is as long as PostgreSQL allows. */
const MAX_NAME = 56;
const FOLDED = "_folded";
/** Columns that PostgreSQL has in every table. */
const SYSTEM_COLUMNS = ["cmax", "cmin", "ctid", "tableoid", "xmax", "xmin"];
const MAX_FIELDS = 100;
const MAX_LENGTH = 100_000;
const MAX_DESCRIPTION = 1000;

/** A field as the form has it: every value as it was typed. */
export interface FieldDraft {
  name: string;
  type: FieldType;
  minimum: string;
  maximum: string;
  nullable: boolean;
  default: string;
  search: boolean;
  description: string;
  example: string;
}

export const EMPTY: FieldDraft = {
  name: "",
  type: "text",
  minimum: "",
  maximum: "",
  nullable: true,
  default: "",
  search: true,
  description: "",
  example: "",
};

/** What is wrong, by member of the form. */
export type Faults = Partial<Record<keyof FieldDraft, string>>;

export function faultsOf(draft: FieldDraft, type: RecordType, keywords: string[]): Faults {
  const faults: Faults = {};
  const add = (member: keyof FieldDraft, fault: string | undefined) => {
    if (fault) faults[member] ??= fault;
  };
  add("name", nameFault(draft.name, type, keywords));
  add("minimum", boundFault(draft.type, draft.minimum));
  add("maximum", boundFault(draft.type, draft.maximum));
  if (draft.minimum !== "" && draft.maximum !== "" && Number(draft.minimum) > Number(draft.maximum)) {
    add("maximum", `${draft.minimum} is greater than ${draft.maximum}`);
  }
  if (draft.type === "integer" && (draft.minimum === "") !== (draft.maximum === "")) {
    add(draft.minimum === "" ? "minimum" : "maximum", "a range has both a minimum and a maximum");
  }
  if (draft.type === "text" && draft.maximum !== "" && Number(draft.maximum) < 1) add("maximum", "must be at least 1");
  if (!draft.nullable && draft.default === "") {
    add("default", "existing records need a value: set a default, or allow null and require the field later");
  }
  if (draft.default !== "") add("default", valueFault(draft, draft.default));
  if (draft.example !== "") add("example", valueFault(draft, draft.example));
  if ([...draft.description].length > MAX_DESCRIPTION) add("description", `at most ${MAX_DESCRIPTION} characters`);
  return faults;
}

/** A label, such as "Last screened", as the name of a field. `records infer` makes the same of the header of a column. */
export function fieldName(label: string, keywords: string[]): string {
  const shortened = (most: number) => identifier(label, "_").replace(/^[^a-z]+/, "").slice(0, most).replace(/_$/, "");
  const name = shortened(MAX_NAME);
  const other = `${shortened(MAX_NAME - "_value".length)}_value`;
  return name && reserved(name, keywords) ? other : name;
}

function nameFault(name: string, type: RecordType, keywords: string[]): string | undefined {
  const fault = reserved(name, keywords);
  if (fault) return fault;
  if (type.fields.some((field) => field.name === name)) return "there is a field of that name";
  const own = type.fields.filter((field) => !MANAGED.includes(field.name));
  if (own.length >= MAX_FIELDS) return `a record type has at most ${MAX_FIELDS} fields`;
  return undefined;
}

/** Why no field can have a name. */
function reserved(name: string, keywords: string[]): string | undefined {
  if (!/^[a-z][a-z0-9_]*$/.test(name)) return "start with a small letter, then small letters, digits and _";
  if (name.length > MAX_NAME) return `at most ${MAX_NAME} characters, found ${name.length}`;
  if (name.includes("__")) return "__ is reserved";
  if (name.endsWith(FOLDED)) return `names of columns that the service adds end with ${FOLDED}`;
  if (keywords.includes(name)) return "it is a keyword of the filter language";
  if (MANAGED.includes(name)) return "the service adds a field of that name itself";
  if (SYSTEM_COLUMNS.includes(name)) return "PostgreSQL has a column of that name in every table";
  return undefined;
}

function boundFault(type: FieldType, bound: string): string | undefined {
  if (bound === "" || (type !== "text" && type !== "integer")) return undefined;
  if (!/^-?\d+$/.test(bound) || !Number.isSafeInteger(Number(bound))) return "expected an integer";
  const number = Number(bound);
  if (type === "text" && (number < 0 || number > MAX_LENGTH)) return `expected at least 0 and at most ${MAX_LENGTH} characters`;
  return undefined;
}

/** What is wrong with a default or an example, which obey the rules of the field. */
function valueFault(draft: FieldDraft, value: string): string | undefined {
  const { minimum, maximum } = boundsOf(draft);
  switch (draft.type) {
    case "text": {
      const length = [...value.normalize("NFC")].length;
      if (value.trim() === "" && (minimum ?? 1) > 0) return "is blank; write a text";
      if (length < (minimum ?? 0)) return `must have at least ${minimum} characters, found ${length}`;
      if (length > (maximum ?? Infinity)) return `must have at most ${maximum} characters, found ${length}`;
      return undefined;
    }
    case "integer": {
      if (!/^-?\d+$/.test(value)) return "expected an integer";
      if (!Number.isSafeInteger(Number(value))) return "write numbers of more than 15 digits into the lines yourself";
      const number = Number(value);
      if (number < (minimum ?? -Infinity) || number > (maximum ?? Infinity)) return `must be from ${minimum} to ${maximum}`;
      return undefined;
    }
    case "date":
      return isDay(value) ? undefined : "expected a date (YYYY-MM-DD)";
    case "timestamp": {
      const isForm = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$/.test(value);
      return isForm && isDay(value.slice(0, 10)) && !Number.isNaN(Date.parse(value)) ? undefined : "expected a time, such as 2026-01-31T12:00:00Z";
    }
    case "id":
      return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(value) ? undefined : "expected a UUID in hyphenated form";
    case "boolean":
      return undefined;
  }
}

/** Whether a text is a day of the calendar. `Date` would make 30 February a day of March. */
function isDay(text: string): boolean {
  if (!/^\d{4}-\d\d-\d\d$/.test(text)) return false;
  const date = new Date(`${text}T00:00:00Z`);
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(text);
}

function boundsOf({ type, minimum, maximum }: FieldDraft): { minimum: number | undefined; maximum: number | undefined } {
  const isText = type === "text";
  if (!isText && type !== "integer") return { minimum: undefined, maximum: undefined };
  return {
    minimum: minimum === "" ? (isText ? 1 : undefined) : Number(minimum),
    maximum: maximum === "" ? (isText ? 500 : undefined) : Number(maximum),
  };
}

/** The field of a draft without faults. */
export function fieldOf(draft: FieldDraft): Declared {
  const { name, type, nullable, search, description } = draft;
  const value = (text: string): unknown => {
    if (text === "") return undefined;
    if (type === "integer") return Number(text);
    return type === "boolean" ? text === "true" : text;
  };
  return {
    name,
    type,
    ...boundsOf(draft),
    required: !nullable,
    default: value(draft.default),
    readOnly: false,
    search: search || type !== "text",
    description: description.trim(),
    example: value(draft.example),
  };
}
