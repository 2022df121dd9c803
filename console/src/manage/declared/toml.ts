// Declarations of record types as TOML.

import type { FieldSchema, FieldType, RecordType } from "../../api/document";

/** The fields that the service adds to every record type. */
export const MANAGED = ["id", "version", "created_at", "updated_at"];

/** The length of a text whose declaration has none. */
const LENGTH = [1, 500] as const;

/** A text as TOML has it. JSON escapes the same characters, but one. */
function text(value: string): string {
  return JSON.stringify(value).replaceAll("\x7f", "\\u007f");
}

/** A value of a field. Dates and times are written without quotes. */
function valueText(type: FieldType, value: unknown): string {
  if (typeof value !== "string") return String(value);
  return type === "date" || type === "timestamp" ? value : text(value);
}

function list(names: string[]): string {
  return `[${names.map(text).join(", ")}]`;
}

/** What a declaration says about a field. */
export interface Declared {
  name: string;
  type: FieldType;
  minimum?: number | undefined;
  maximum?: number | undefined;
  required: boolean;
  default?: unknown;
  readOnly: boolean;
  search: boolean;
  description: string;
  example?: unknown;
}

/** The lines of a field. Keys with their default are left out. */
export function fieldText(field: Declared): string {
  const { name, type, minimum, maximum, description, example } = field;
  const isUsualLength = type === "text" && minimum === LENGTH[0] && maximum === LENGTH[1];
  const hasBounds = minimum !== undefined && maximum !== undefined && !isUsualLength;
  const lines = [
    `[fields.${name}]`,
    `type = ${text(type)}`,
    hasBounds && `${type === "text" ? "length" : "range"} = [${minimum}, ${maximum}]`,
    !field.required && "required = false",
    field.default !== undefined && `default = ${valueText(type, field.default)}`,
    field.readOnly && "read_only = true",
    !field.search && "search = false",
    description && `description = ${text(description)}`,
    example !== undefined && `example = ${valueText(type, example)}`,
  ];
  return `${lines.filter(Boolean).join("\n")}\n`;
}

/** A field of the service as it was declared. */
export function declared(field: FieldSchema): Declared {
  const { name, type, nullable, writable, description, example, operators } = field;
  return {
    name,
    type,
    minimum: type === "text" ? field.min_length : field.minimum,
    maximum: type === "text" ? field.max_length : field.maximum,
    required: !nullable,
    default: field.default ?? undefined,
    readOnly: !writable,
    search: type !== "text" || operators.includes("contains"),
    description,
    example,
  };
}

/** The declaration of a record type, as far as the service reports it. */
export function declarationText({ name, collection, description, unique, fields, searches }: RecordType): string {
  const head = [
    `name = ${text(name)}`,
    `collection = ${text(collection)}`,
    description && `description = ${text(description)}`,
    unique.length > 0 && `unique = [${unique.map(list).join(", ")}]`,
  ];
  const own = fields.filter((field) => !MANAGED.includes(field.name)).map((field) => fieldText(declared(field)));
  const examples = searches.map((search) => {
    const lines = [
      `[searches.${search.name}]`,
      search.description && `description = ${text(search.description)}`,
      `filter = ${text(search.filter)}`,
    ];
    return `${lines.filter(Boolean).join("\n")}\n`;
  });
  return [`${head.filter(Boolean).join("\n")}\n`, ...own, ...examples].join("\n");
}
