// Requests to the service that serves this page. Everything in the console goes through `request`.

import type { Problem } from "./document";
import { parse, stringify } from "./exact";
import { upload } from "./upload";

/** A request that failed: a problem document of the service, or the same form for a network or a proxy. */
export class Failure extends Error {
  constructor(readonly problem: Partial<Problem> & { detail: string }) {
    super(problem.detail);
  }

  get code(): string | undefined {
    return this.problem.code;
  }
}

export type Query = Record<string, string | number | boolean | undefined>;

export interface Options {
  method?: string;
  query?: Query;
  /** A body sent as JSON. */
  json?: unknown;
  /** A body sent as it is. */
  body?: BodyInit;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  /** Called with the part of the body that has been sent, from 0 to 1. */
  onUpload?: (fraction: number) => void;
}

/** The access token, and how to get another one. `session.ts` provides them. */
export interface Tokens {
  current(): string | undefined;
  /** Returns whether there is a new token. Requests that fail at the same time share one renewal. */
  renew(): Promise<boolean>;
  /** Called if the session has ended. Resolves when the user has signed in again, so the request can be sent again. */
  ended(problem: Failure): Promise<void>;
}

let tokens: Tokens;

export function useTokens(source: Tokens): void {
  tokens = source;
}

/** The number of attempts for a request that the service rejects because it is busy or the client is over a limit. */
const MAX_ATTEMPTS = 3;
/** The longest wait before such an attempt, in seconds. */
const MAX_WAIT = 10;

export function urlOf(path: string, query: Query = {}): string {
  const url = new URL(path, document.baseURI);
  url.hash = "";
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== "") url.searchParams.set(name, String(value));
  }
  return url.href;
}

/** Sends a request and returns its successful response. Rejects with a `Failure`, or with an `AbortError`. */
export async function request(path: string, options: Options = {}): Promise<Response> {
  let renewed = false;
  for (let attempt = 1; ; attempt++) {
    const response = await sendOnce(path, options);
    if (response.ok) return response;
    const failure = await failureOf(response);
    if (response.status === 401 && !renewed) {
      renewed = true;
      if (!(await tokens.renew())) await tokens.ended(failure);
      continue;
    }
    // A proxy may send a date instead of seconds.
    const seconds = Number(response.headers.get("Retry-After")) || 1;
    if (!isRepeatable(response.status, options) || attempt === MAX_ATTEMPTS || seconds > MAX_WAIT) throw failure;
    await pause(seconds, options.signal);
  }
}

/** Whether a rejected request can be sent again without being carried out twice: a 503 can follow a write that has begun. */
function isRepeatable(status: number, { method, headers }: Options): boolean {
  return status === 429 || (status === 503 && ((method ?? "GET") === "GET" || headers?.["Idempotency-Key"] !== undefined));
}

function pause(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((done, fail) => {
    const timer = setTimeout(done, 1000 * seconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      fail(signal.reason);
    });
  });
}

async function sendOnce(path: string, options: Options): Promise<Response> {
  const token = tokens.current();
  const headers: Record<string, string> = { ...options.headers };
  if (token) headers["Authorization"] = `Bearer ${token}`;
  let body = options.body ?? null;
  if (options.json !== undefined) {
    headers["Content-Type"] ??= "application/json";
    body = stringify(options.json);
  }
  const init: RequestInit = { method: options.method ?? "GET", headers, body };
  if (options.signal) init.signal = options.signal;
  const url = urlOf(path, options.query);
  try {
    return await (options.onUpload ? upload(url, init, options.onUpload) : fetch(url, init));
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Failure({ code: "unreachable", detail: "the service cannot be reached; check the connection and try again" });
  }
}

export async function failureOf(response: Response): Promise<Failure> {
  const problem: unknown = await response.text().then(parse).catch(() => undefined);
  if (problem && typeof problem === "object" && "detail" in problem) return new Failure(problem as Problem);
  return new Failure({ status: response.status, detail: `${response.status} ${response.statusText}` });
}

/** Sends a request and returns the JSON of its response; `undefined` without a body. */
export async function json<T>(path: string, options: Options = {}): Promise<T> {
  const response = await request(path, options);
  return (response.status === 204 ? undefined : parse(await response.text())) as T;
}
