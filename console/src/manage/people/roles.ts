// What the roles and the scopes allow, in words.

import type { Role } from "../../api/document";
import { catalogue, label } from "../../schema";

export const ROLES: Role[] = ["viewer", "editor", "admin"];

/** What the roles allow, each with the roles that have it. */
export const RIGHTS: [string, Role[]][] = [
  ["Search, read and export records", ["viewer", "editor", "admin"]],
  ["See the history of records and saved queries", ["viewer", "editor", "admin"]],
  ["Create, change, delete and import records", ["editor", "admin"]],
  ["Save, change and delete queries", ["editor", "admin"]],
  ["Manage users, and see the usage of all", ["admin"]],
  ["Erase the history of records", ["admin"]],
];

/** A scope in words. */
export function scopeText(scope: string): string {
  if (scope === "admin") return "Manage users, see the usage of all, revoke tokens, erase the history of records";
  const [collection = "", action] = scope.split(":");
  const isKnown = catalogue.value?.record_types.some((type) => type.collection === collection);
  const name = isKnown ? label(collection).toLowerCase() : collection;
  if (action === "read") return `Search, read and export ${name}`;
  if (action === "write") return `Create, change, delete and import ${name}, and save queries`;
  return scope;
}
