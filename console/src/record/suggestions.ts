// Values of other records for a text field, the most frequent first, so that one spelling is used.

import { json } from "../api/client";
import type { Completion, FieldSchema, RecordType } from "../api/document";
import { recordType } from "../schema";
import { useLater, useLoaded } from "../ui/loading";

/** Texts up to this length have suggestions: longer ones are sentences. */
const MAX_LENGTH = 100;

/** Whether values repeat: not those that identify a record. */
export function hasSuggestions(type: RecordType | undefined, { name, type: kind, operators, max_length = Infinity }: FieldSchema): boolean {
  return kind === "text" && max_length <= MAX_LENGTH && operators.includes("=") && !type?.unique.flat().includes(name);
}

/** The values that begin with the typed text, while the field has the focus. */
export function useSuggestions(field: FieldSchema, typed: string, isActive: boolean): string[] {
  const text = useLater(typed);
  const collection = recordType.value?.collection;
  const isWanted = isActive && hasSuggestions(recordType.value, field);
  const found = useLoaded(isWanted ? `${collection} ${field.name} ${text}` : undefined, async (signal) => {
    // The completion of an unfinished filter.
    const filter = `${field.name} = ${text ? `'${text.replace(/[\\']/g, "\\$&")}` : ""}`;
    const query = { filter, caret: filter.length, collection, position_encoding: "utf-16" };
    const { candidates } = await json<Completion>("api/v1/query/complete", { query, signal });
    return candidates.flatMap((candidate) => (candidate.kind === "value" ? [unquoted(candidate.text)] : []));
  });
  return isWanted ? (found.value ?? []).filter((value) => value !== typed) : [];
}

function unquoted(literal: string): string {
  return literal.slice(1, -1).replace(/\\(.)/g, "$1");
}
