// The session of the user: how to sign in, the token, and what it allows. The token is in memory only. With
// `--auth password` a cookie that scripts cannot read renews it, so a reload keeps the session.

import { signal } from "@preact/signals";
import { Failure, failureOf, json, urlOf, useTokens } from "./api/client";
import type { CurrentUser, SignInMethod, Token } from "./api/document";
import { loadCatalogue } from "./schema";

export type Session =
  | { state: "starting" }
  /** `me` is the user of a session that has ended. */
  | { state: "signed_out"; method: SignInMethod; reason?: string; me?: CurrentUser }
  /** A visitor has no token. */
  | { state: "signed_in"; method: SignInMethod; me: CurrentUser; isVisitor: boolean };

export const session = signal<Session>({ state: "starting" });

/** Set in the storage of the browser while there may be a cookie of a session, which scripts cannot see. */
const KEPT = "cinequery.session";

/** The service and the user to whom what is in a storage of the browser belongs. Services below two paths of a host share it. */
const OWNER = "cinequery.owner";

function ownerOf(subject: string): string {
  return `${new URL(".", document.baseURI).pathname} ${subject}`;
}

/** The storages of the browser and of the tab; none if the browser does not allow them. */
const storages = available();

function available(): Storage[] {
  try {
    return [localStorage, sessionStorage];
  } catch {
    return [];
  }
}

/** Whether a visitor has asked for the form to sign in. */
export const isSigningIn = signal(false);

/** The name under which `--auth open` signs in without a question. */
const OPEN_NAME = "console";

let token: string | undefined;
let renewal: Promise<boolean> | undefined;
/** Requests that wait until the user has signed in again. */
let waiting: (() => void)[] = [];

useTokens({
  current: () => token,
  renew() {
    renewal ??= renewed().finally(() => (renewal = undefined));
    return renewal;
  },
  ended(failure) {
    const current = session.value;
    if (current.state === "starting" || (current.state === "signed_in" && current.isVisitor)) throw failure;
    if (current.state === "signed_in") {
      const reason = "Your session has ended. Sign in to continue where you were.";
      session.value = { state: "signed_out", method: current.method, me: current.me, reason };
    }
    return new Promise((done) => waiting.push(done));
  },
});

async function post(path: string, init: RequestInit = {}): Promise<Token | undefined> {
  const response = await fetch(urlOf(path), { method: "POST", ...init }).catch(() => {
    throw new Failure({ code: "unreachable", detail: "the service cannot be reached; check the connection and try again" });
  });
  if (!response.ok) throw await failureOf(response);
  return response.status === 204 ? undefined : response.json();
}

async function renewed(): Promise<boolean> {
  const current = session.value;
  const method = current.state === "starting" ? undefined : current.method.method;
  if (current.state === "signed_in" && current.isVisitor) return false;
  try {
    if (method === "oidc") return false;
    const renewed = method === "open" ? await openToken(current) : (await post("api/v1/session/renew"))?.access_token;
    const me = current.state === "starting" ? undefined : current.me;
    if (me && renewed && subjectOf(renewed) !== me.subject) {
      // Another tab has signed in another user, whose cookie it is. What this page would send belongs to the first one.
      location.reload();
      return await new Promise(() => {});
    }
    token = renewed;
    return true;
  } catch (error) {
    if (!(error instanceof Failure) || error.problem.status !== 401) throw error;
    storages[0]?.removeItem(KEPT);
    return false;
  }
}

/** The subject of a token of this service (RFC 7519). */
function subjectOf(jwt: string): string | undefined {
  try {
    const payload = atob((jwt.split(".")[1] ?? "").replace(/-/g, "+").replace(/_/g, "/"));
    const claims: unknown = JSON.parse(new TextDecoder().decode(Uint8Array.from(payload, (char) => char.charCodeAt(0))));
    return claims && typeof claims === "object" && "sub" in claims ? String(claims.sub) : undefined;
  } catch {
    return undefined;
  }
}

async function openToken(current: Session): Promise<string | undefined> {
  const name = current.state === "signed_in" ? current.me.subject : OPEN_NAME;
  const body = new URLSearchParams({ grant_type: "password", username: name, password: "" });
  return (await post("api/token", { body }))?.access_token;
}

/** Starts with the session of the cookie, without a token where the service allows that, or with the form to sign in. */
export async function start(): Promise<void> {
  // At the same time: only `--auth password` leaves this.
  const renewing = storages[0]?.getItem(KEPT) ? renewed() : undefined;
  renewing?.catch(() => undefined);
  const [method, returned] = await Promise.all([json<SignInMethod>("api/v1/sign-in"), returnedFromIssuer()]);
  if (returned) token = returned;
  else if (method.method === "open") token = await openToken(session.value);
  else if (method.method === "password") await renewing;
  // Without these, the browser would log an error for a first visit.
  if (!token && !method.anonymous) {
    session.value = { state: "signed_out", method };
    return;
  }
  try {
    await enter(method);
  } catch (error) {
    if (!(error instanceof Failure) || error.problem.status !== 401) throw error;
    session.value = { state: "signed_out", method };
  }
}

async function enter(method: SignInMethod): Promise<void> {
  const before = session.value.state === "signed_out" ? session.value.me : undefined;
  const [me] = await Promise.all([json<CurrentUser>("api/v1/me"), loadCatalogue()]);
  if (token !== undefined) own(me.subject);
  if (before && before.subject !== me.subject) {
    // What is on the page belongs to another user, and so do the requests that wait.
    location.reload();
    return;
  }
  session.value = { state: "signed_in", method, me, isVisitor: token === undefined };
  isSigningIn.value = false;
  for (const done of waiting.splice(0)) done();
}

/** Signs in with a name and a password. Rejects with a `Failure`. */
export async function signIn(method: SignInMethod, username: string, password: string): Promise<void> {
  const headers = { "Content-Type": "application/json" };
  const body = JSON.stringify({ username, password });
  const path = method.method === "open" ? "api/token" : "api/v1/session/sign-in";
  token = (await post(path, { headers, body }))?.access_token;
  if (method.method === "password") storages[0]?.setItem(KEPT, "yes");
  await enter(method);
}

/** Signs out, and starts the page again: nothing that the user has typed or seen stays for the next one. */
export async function signOut(): Promise<void> {
  const current = session.value;
  if (current.state !== "signed_in") return;
  if (current.method.method === "password") await post("api/v1/session/sign-out");
  for (const storage of storages) {
    forget(storage);
    for (const name of [KEPT, OWNER]) storage.removeItem(name);
  }
  location.hash = "";
  location.reload();
}

/** Removes what this page has stored for its user. */
function forget(storage: Storage): void {
  for (const name of Object.keys(storage)) {
    if (name.startsWith("cinequery.") && name !== KEPT && name !== OWNER) storage.removeItem(name);
  }
}

/** The event of the window after what another user has stored was removed. What was read before is that user's. */
export const FORGOTTEN = "cinequery:forgotten";

/** Removes what belongs to another user. Each tab has a storage of its own, so another tab may not have done it. */
function own(subject: string): void {
  for (const storage of storages) {
    if (storage.getItem(OWNER) !== ownerOf(subject)) forget(storage);
    storage.setItem(OWNER, ownerOf(subject));
  }
  dispatchEvent(new Event(FORGOTTEN));
}

// Another tab has signed out, or in as another user: the page of the first one does not stay.
addEventListener("storage", ({ key, newValue }) => {
  const current = session.value;
  if (key !== OWNER || current.state !== "signed_in" || current.isVisitor) return;
  const isSameService = newValue === null || newValue.startsWith(ownerOf(""));
  if (isSameService && newValue !== ownerOf(current.me.subject)) location.reload();
});

/** Replaces the token after a change of the password, which ends all sessions of the user. */
export async function changePassword(current_password: string, new_password: string): Promise<void> {
  const current = session.value;
  if (current.state !== "signed_in") return;
  await json("api/v1/me/password", { method: "PUT", json: { current_password, new_password } });
  await signIn(current.method, current.me.subject, new_password);
}

/** Returns the access token, for scripts of the user. */
export function accessToken(): string | undefined {
  return token;
}

/** Returns whether the token has a scope, such as `admin` or `movies:write`. */
export function allows(scope: string): boolean {
  const current = session.value;
  // The page of a session that has ended stays as it was, below the form to sign in.
  return current.state !== "starting" && (current.me?.scopes.includes(scope) ?? false);
}

// Authorization code with PKCE (RFC 7636), for `--auth oidc`.

const ATTEMPT = "cinequery.sign-in";
/** How the fragment starts when the browser comes back. */
const RETURNED = "#sign-in?";

interface Attempt {
  state: string;
  verifier: string;
  fragment: string;
}

function pendingAttempt(): Attempt | undefined {
  try {
    return (JSON.parse(sessionStorage.getItem(ATTEMPT) ?? "null") as Attempt | null) ?? undefined;
  } catch {
    return undefined;
  }
}

/** The page that passes the code on, here and for Swagger UI: an issuer accepts only URLs that it knows. */
function redirectUri(): string {
  return new URL("docs/oauth2-redirect", document.baseURI).href;
}

function random(): string {
  return base64url(crypto.getRandomValues(new Uint8Array(32)));
}

function base64url(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

/** Sends the user to the issuer, which sends the browser back to this page. */
export async function signInElsewhere(method: SignInMethod): Promise<void> {
  const attempt: Attempt = { state: random(), verifier: random(), fragment: location.hash };
  sessionStorage.setItem(ATTEMPT, JSON.stringify(attempt));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(attempt.verifier));
  const url = new URL(method.authorization_endpoint ?? "");
  const parameters = {
    response_type: "code",
    client_id: method.client_id ?? "",
    redirect_uri: redirectUri(),
    scope: method.scope ?? "",
    state: attempt.state,
    code_challenge: base64url(new Uint8Array(digest)),
    code_challenge_method: "S256",
  };
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  location.assign(url);
}

/** Returns the token if the browser comes from the issuer, and restores the place from which it went there. */
async function returnedFromIssuer(): Promise<string | undefined> {
  const [, returned] = location.hash.split(RETURNED);
  const attempt = pendingAttempt();
  if (!returned || !attempt) return undefined;
  const parameters = new URLSearchParams(returned);
  if (parameters.get("state") !== attempt.state) {
    // Any page can send a browser here. The right response may still come. Starting again starts without this one.
    history.replaceState(null, "", `${location.pathname}${attempt.fragment || "#/"}`);
    throw new Failure({ code: "sign_in_failed", detail: "the response of the issuer does not belong to this sign-in; sign in again" });
  }
  sessionStorage.removeItem(ATTEMPT);
  history.replaceState(null, "", `${location.pathname}${attempt.fragment || "#/"}`);
  dispatchEvent(new HashChangeEvent("hashchange"));
  const code = parameters.get("code");
  if (!code) {
    const reason = parameters.get("error_description") ?? parameters.get("error") ?? "no code was returned";
    throw new Failure({ code: "sign_in_failed", detail: `signing in failed: ${reason}` });
  }
  const method = await json<SignInMethod>("api/v1/sign-in");
  const response = await fetch(method.token_endpoint ?? "", {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "authorization_code",
      client_id: method.client_id ?? "",
      redirect_uri: redirectUri(),
      code,
      code_verifier: attempt.verifier,
    }),
  });
  if (!response.ok) throw await failureOf(response);
  return ((await response.json()) as Token).access_token;
}
