// The requests for users.

import { json, request } from "../../api/client";
import type { User, UserDraft, UserPage, UserPatch } from "../../api/document";

function pathOf(name: string): string {
  return `api/v1/users/${encodeURIComponent(name)}`;
}

export function listUsers(after: string | undefined, signal: AbortSignal): Promise<UserPage> {
  return json<UserPage>("api/v1/users", { query: { after, limit: 100 }, signal });
}

export function getUser(name: string, signal: AbortSignal): Promise<User> {
  return json<User>(pathOf(name), { signal });
}

export function createUser(draft: UserDraft): Promise<User> {
  return json<User>("api/v1/users", { method: "POST", json: draft });
}

/** Changes a user in the version that the administrator has seen. */
export function changeUser({ name, version }: User, changes: UserPatch): Promise<User> {
  return json<User>(pathOf(name), { method: "PATCH", json: changes, headers: { "If-Match": `"${version}"` } });
}

export async function deleteUser({ name, version }: User): Promise<void> {
  await request(pathOf(name), { method: "DELETE", headers: { "If-Match": `"${version}"` } });
}

/** Revokes all tokens of a user, and ends all sessions. */
export async function revokeTokens(subject: string): Promise<void> {
  await request("api/v1/revocations", { method: "POST", json: { subject } });
}
