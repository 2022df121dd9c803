import type { Failure } from "../api/client";

/** A failed request for people: what was found, what to do, and the id to quote. */
export function ProblemNote({ failure, children }: { failure: Failure | undefined; children?: preact.ComponentChildren }) {
  if (!failure) return null;
  const { detail, errors, diagnostics, request_id, status } = failure.problem;
  return (
    <div class="problem" role="alert">
      <p>{detail}</p>
      {errors && errors.length > 0 && (
        <ul>
          {errors.slice(0, 20).map((rule) => (
            <li key={`${rule.pointer}${rule.detail}`}>
              <b>{rule.pointer?.replace(/^\//, "")}</b> {rule.detail}
            </li>
          ))}
        </ul>
      )}
      {diagnostics && diagnostics.length > 1 && (
        <ul>
          {diagnostics.map((it) => (
            <li key={`${it.start}${it.message}`}>{[it.message, it.help].filter(Boolean).join("; ")}</li>
          ))}
        </ul>
      )}
      {children}
      {status !== undefined && status >= 500 && request_id && <p class="quiet">Request {request_id}</p>}
    </div>
  );
}
