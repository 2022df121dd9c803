// The requests for saved queries.

import { json, request } from "../../api/client";
import type { FieldType, SavedParameter, SavedQuery, SavedQueryDraft, SavedQueryPage } from "../../api/document";

function pathOf(collection: string, name?: string): string {
  const base = `api/v1/queries/${collection}`;
  return name === undefined ? base : `${base}/${encodeURIComponent(name)}`;
}

export function listQueries(collection: string, cursor: string | undefined, signal: AbortSignal): Promise<SavedQueryPage> {
  return json<SavedQueryPage>(pathOf(collection), { query: { cursor, limit: 100 }, signal });
}

export function getQuery(collection: string, name: string, signal?: AbortSignal): Promise<SavedQuery> {
  return json<SavedQuery>(pathOf(collection, name), signal ? { signal } : {});
}

export function createQuery(collection: string, draft: SavedQueryDraft): Promise<SavedQuery> {
  return json<SavedQuery>(pathOf(collection), { method: "POST", json: draft });
}

/** Replaces a query in the version that the user has seen. */
export function replaceQuery(collection: string, name: string, version: number, draft: SavedQueryDraft): Promise<SavedQuery> {
  return json<SavedQuery>(pathOf(collection, name), { method: "PUT", json: draft, headers: { "If-Match": `"${version}"` } });
}

export async function deleteQuery(collection: string, { name, version }: SavedQuery): Promise<void> {
  await request(pathOf(collection, name), { method: "DELETE", headers: { "If-Match": `"${version}"` } });
}

/** The query as it was saved, to save it again. */
export function draftOf({ name, description, filter, order_by, parameters }: SavedQuery): SavedQueryDraft {
  return {
    name,
    ...(description ? { description } : {}),
    ...(filter ? { filter } : {}),
    ...(order_by ? { order_by } : {}),
    parameters: parameters.map(({ type: _, ...parameter }) => parameter),
  };
}

/** The default of a parameter as text, as an input has it. */
export function defaultText(parameter: SavedParameter): string {
  const value: unknown = parameter.default;
  return value === undefined || value === null ? "" : String(value);
}

/** The text of an input as the default of a parameter; `undefined` for none. */
export function defaultOf(type: FieldType, text: string): unknown {
  if (text === "") return undefined;
  if (type === "integer") return Number.isSafeInteger(Number(text)) ? Number(text) : text;
  if (type === "boolean") return text === "true";
  return text;
}
