// The numbers of requests by day and class, from the rows of the service.

import type { Usage, UsagePage } from "../../api/document";
import { request } from "../../api/client";

/** The number of days that are shown. */
export const DAYS = 30;
const DAY = 24 * 60 * 60 * 1000;
/** The number of rows that are loaded at most; a service with many users may have more. */
const MAX_ROWS = 20_000;
const PAGE = 1000;

/** The classes of requests in the order of the bars, from the bottom, and the rejected requests on top. */
export const CLASSES = ["read", "write", "admin", "sign_in", "other", "throttled"] as const;
export type Class = (typeof CLASSES)[number];

export const NAMES: Record<Class, string> = {
  read: "Reading",
  write: "Writing",
  admin: "Administration",
  sign_in: "Sign-in",
  other: "Other",
  throttled: "Over the rate limit",
};

/** The rate limit of the caller, as the header fields of a response have it. */
export interface RateLimit {
  name: string;
  quota: number;
  /** In seconds. */
  window: number;
  remaining: number;
  /** The seconds until all requests are left again. */
  reset: number;
}

export interface Counted {
  rows: Usage[];
  /** Whether there are more rows than are loaded. */
  isCut: boolean;
  /** `undefined` if the operator sets no limit. */
  limit: RateLimit | undefined;
}

/** Loads the usage of the last days. `subject` is a name, `*` for all users, or empty for the caller. */
export async function loadUsage(subject: string, signal: AbortSignal): Promise<Counted> {
  const rows: Usage[] = [];
  const from = dayOf(Date.now() - (DAYS - 1) * DAY);
  let after: string | undefined;
  let limit: RateLimit | undefined;
  do {
    const response = await request("api/v1/usage", { query: { subject, from, after, limit: PAGE }, signal });
    const page = (await response.json()) as UsagePage;
    limit = limitOf(response.headers);
    rows.push(...page.items);
    after = page.next_after;
  } while (after !== undefined && rows.length < MAX_ROWS);
  return { rows, isCut: after !== undefined, limit };
}

function limitOf(headers: Headers): RateLimit | undefined {
  const policy = headers.get("RateLimit-Policy") ?? "";
  const state = headers.get("RateLimit") ?? "";
  const name = /^"([^"]*)"/.exec(policy)?.[1];
  const number = (text: string, parameter: string) => Number(new RegExp(`;${parameter}=(\\d+)`).exec(text)?.[1]);
  if (name === undefined) return undefined;
  return { name, quota: number(policy, "q"), window: number(policy, "w"), remaining: number(state, "r"), reset: number(state, "t") };
}

function dayOf(time: number): string {
  return new Date(time).toISOString().slice(0, 10);
}

/** The last days in UTC, the oldest first. */
export function lastDays(now = Date.now()): string[] {
  return Array.from({ length: DAYS }, (_, index) => dayOf(now - (DAYS - 1 - index) * DAY));
}

export type Numbers = Record<Class, number>;

function zero(): Numbers {
  return { read: 0, write: 0, admin: 0, sign_in: 0, other: 0, throttled: 0 };
}

/** The sums of rows by a key. Classes that are new in the service count as other ones. */
export function sums(rows: Usage[], keyOf: (row: Usage) => string): Map<string, Numbers> {
  const found = new Map<string, Numbers>();
  for (const row of rows) {
    const numbers = found.get(keyOf(row)) ?? zero();
    const name = CLASSES.find((known) => known === row.class && known !== "throttled") ?? "other";
    numbers[name] += row.requests;
    numbers.throttled += row.throttled;
    found.set(keyOf(row), numbers);
  }
  return found;
}

/** The numbers of a key; zeros if it has none. */
export function numbersOf(found: Map<string, Numbers>, key: string): Numbers {
  return found.get(key) ?? zero();
}

export function total(numbers: Numbers): number {
  return CLASSES.reduce((sum, name) => sum + numbers[name], 0);
}
