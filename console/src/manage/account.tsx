// The caller: scopes, password, token, and signing out.

import { useState } from "preact/hooks";
import { json, urlOf } from "../api/client";
import type { CurrentUser, MethodName } from "../api/document";
import { go, place } from "../place";
import { distance, shown } from "../schema";
import { accessToken, changePassword, session, signOut } from "../session";
import { useAction, useLoaded } from "../ui/loading";
import { notify } from "../ui/notices";
import { ProblemNote } from "../ui/problem";
import { Code, copy } from "./code";
import { Confirm } from "../ui/confirm";
import { Labelled, problemAt, unlessShown } from "./form";
import { NewPassword, passwordProblem } from "./people/password";
import { revokeTokens } from "./people/requests";
import { scopeText } from "./people/roles";
import "./manage.css";

export function Account() {
  const current = session.value;
  const method = current.state === "starting" ? undefined : current.method.method;
  // Not that of the sign-in: the token has been renewed since.
  const { value: me, failure, reload } = useLoaded("me", (signal) => json<CurrentUser>("api/v1/me", { signal }));
  return (
    <div class="manage">
      <h1>Account</h1>
      <ProblemNote failure={failure}>
        <button type="button" onClick={reload}>
          Try again
        </button>
      </ProblemNote>
      {!me && !failure && <p class="quiet">Loading …</p>}
      {me && method && (
        <>
          <Caller me={me} />
          {me.can_change_password && <Password me={me} onChanged={reload} />}
          <Scripts me={me} method={method} />
          <SigningOut me={me} method={method} />
        </>
      )}
    </div>
  );
}

function Caller({ me }: { me: CurrentUser }) {
  return (
    <section aria-label="Who you are">
      <dl class="facts">
        <dt>User name</dt>
        <dd>{me.subject}</dd>
        {me.role && (
          <>
            <dt>Role</dt>
            <dd>{me.role}</dd>
          </>
        )}
        <dt>What the token allows</dt>
        <dd>
          <ul class="plain">
            {me.scopes.map((scope) => (
              <li key={scope}>
                {scopeText(scope)} <code class="quiet">{scope}</code>
              </li>
            ))}
          </ul>
          {me.scopes.length === 0 && "Nothing but this page."}
        </dd>
        {me.expires_at && (
          <>
            <dt>The token expires</dt>
            <dd>
              {shown("timestamp", me.expires_at)} <span class="quiet">{distance("timestamp", me.expires_at)}</span>
            </dd>
          </>
        )}
      </dl>
    </section>
  );
}

function Password({ me, onChanged }: { me: CurrentUser; onChanged: () => void }) {
  const { busy, failure, run } = useAction();
  const [present, setPresent] = useState("");
  const [next, setNext] = useState("");
  const isWrong = failure?.code === "wrong_password";
  return (
    <section aria-labelledby="account-password">
      <h2 id="account-password">Change the password</h2>
      <form
        class="narrow"
        onSubmit={(event) => {
          event.preventDefault();
          if (passwordProblem(next)) return;
          void run(async () => {
            await changePassword(present, next);
            setPresent("");
            setNext("");
            notify("Changed the password");
            onChanged();
          });
        }}
      >
        {/* Password managers store the new password under this name. */}
        <input type="text" autocomplete="username" value={me.subject} readOnly hidden />
        <Labelled label="Current password" problem={isWrong ? failure.message : undefined}>
          {(attributes) => (
            <input
              {...attributes}
              type="password"
              autocomplete="current-password"
              required
              value={present}
              onInput={(event) => setPresent(event.currentTarget.value)}
            />
          )}
        </Labelled>
        <NewPassword label="New password" value={next} problem={problemAt(failure, "new_password")} onValue={setNext} />
        <ProblemNote failure={isWrong ? undefined : unlessShown(failure, ["new_password"])} />
        <p class="quiet">All other sessions end, and all tokens of scripts are revoked.</p>
        <div class="actions">
          <button class="primary" disabled={busy}>
            Change the password
          </button>
        </div>
      </form>
    </section>
  );
}

/** How a script gets a token of its own. */
function curl({ subject, scopes }: CurrentUser, method: MethodName): string {
  const reading = scopes.filter((scope) => scope.endsWith(":read")).join(" ");
  const fields = [
    `curl --silent ${shell(urlOf("api/token"))}`,
    "--data grant_type=password",
    `--data-urlencode ${shell(`username=${subject}`)}`,
    method === "open" ? "--data password=" : "--data-urlencode password@password.txt",
    ...(reading ? [`--data-urlencode ${shell(`scope=${reading}`)}`] : []),
  ];
  return `${fields.join(" \\\n  ")}\n`;
}

function shell(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function Scripts({ me, method }: { me: CurrentUser; method: MethodName }) {
  return (
    <section aria-labelledby="account-scripts">
      <h2 id="account-scripts">Tokens for scripts</h2>
      {method === "oidc" ? (
        <p>Another service issues the tokens. Get one for a script there.</p>
      ) : (
        <>
          <p>
            A script gets a token of its own with the user name and the password. Request only the scopes that it needs; this command
            requests reading. The response has the token in <code>access_token</code>.
            {method === "password" && " password.txt has the password, without a line break."}
          </p>
          <Code text={curl(me, method)} name="the command for a token" />
        </>
      )}
      <p class="warning">
        The token of this page works in a script, too. It allows all that is listed above
        {me.expires_at && ` until ${shown("timestamp", me.expires_at)}`}. A program that has it acts as you: use it to try things out only.
        <button type="button" onClick={() => copy(accessToken() ?? "", "the access token")}>
          Copy the access token
        </button>
      </p>
    </section>
  );
}

function SigningOut({ me, method }: { me: CurrentUser; method: MethodName }) {
  const { busy, failure, run } = useAction();
  const close = () => go({ panel: "" });
  const isOpen = method === "open";
  const name = isOpen ? "Revoke all tokens" : "Sign out everywhere";
  return (
    <section aria-labelledby="account-out">
      <h2 id="account-out">{isOpen ? "Revoke tokens" : "Sign out"}</h2>
      <ProblemNote failure={failure} />
      <div class="row">
        {!isOpen && (
          <button type="button" disabled={busy} onClick={() => void run(signOut)}>
            Sign out
          </button>
        )}
        <button type="button" class="danger" onClick={() => go({ panel: "revoke" })}>
          {name}
        </button>
      </div>
      {place.value.panel === "revoke" && (
        <Confirm
          title={`${name}?`}
          action={name}
          onCancel={close}
          onConfirm={async () => {
            await revokeTokens(me.subject);
            close();
            if (isOpen) notify("Revoked all tokens; this page has got a new one");
            else await signOut();
          }}
        >
          <p>
            All tokens of {me.subject} end within a second on all devices, also those of scripts
            {isOpen ? ". This page gets a new one." : ", and all sessions."}
          </p>
        </Confirm>
      )}
    </section>
  );
}
