// How the database runs the search: the plan, its indexes, the SQL, and the limits.

import type { Explanation } from "../api/document";
import { json } from "../api/client";
import { applied } from "../query/state";
import { PAGE } from "../results/rows";
import { count } from "../schema";
import { useLoaded } from "../ui/loading";
import { ProblemNote } from "../ui/problem";
import { stepsOf, warningOf } from "./plan";
import type { Step } from "./plan";

export function Explain() {
  const search = applied.value;
  const { value, failure, loading, reload } = useLoaded(search?.key, (signal) => {
    const { collection, filter, orderBy } = search ?? { collection: "", filter: "", orderBy: "" };
    return json<Explanation>("api/v1/query/explain", { query: { collection, filter, order_by: orderBy, limit: PAGE }, signal });
  });
  const isRejected = [401, 403].includes(failure?.problem.status ?? 0);
  return (
    <section class="explain" aria-label="Plan of the search" aria-busy={loading} tabIndex={0}>
      <header>
        <h2>How the database runs this search</h2>
        {value && <span class="quiet">{value.engine}</span>}
      </header>
      {loading && !value && <p class="quiet">Loading …</p>}
      <ProblemNote failure={failure}>
        {isRejected ? (
          <p>Plans need a signed-in user who may read this collection.</p>
        ) : (
          <button type="button" onClick={reload}>
            Try again
          </button>
        )}
      </ProblemNote>
      {value && !failure && <Plan explanation={value} isFiltered={Boolean(search?.filter)} />}
    </section>
  );
}

function Plan({ explanation, isFiltered }: { explanation: Explanation; isFiltered: boolean }) {
  const { engine, plan, indexes, limits, sql, values } = explanation;
  const steps = stepsOf(engine, plan);
  const warning = warningOf(steps, isFiltered);
  return (
    <>
      {warning && (
        <p class="warning" role="note">
          {warning}
        </p>
      )}
      <h3>Steps</h3>
      <ol class="steps">
        {steps.map((step, index) => (
          <StepLine key={index} step={step} />
        ))}
      </ol>
      <h3>Indexes</h3>
      <p>{indexes.length > 0 ? indexes.map((name) => <code key={name}>{name} </code>) : "None"}</p>
      <h3>Limits of a filter</h3>
      <div class="limits">
        <Limit name="Length in bytes" {...limits.text_bytes} />
        <Limit name="Conditions" {...limits.predicates} />
        <Limit name="Nesting" {...limits.depth} />
        <Limit name="Values in lists" {...limits.in_items} />
      </div>
      <details>
        <summary>SQL</summary>
        <pre>{sql}</pre>
        {values.length > 0 && (
          <table>
            <thead>
              <tr>
                <th scope="col">Placeholder</th>
                <th scope="col">Type</th>
                <th scope="col">Value</th>
              </tr>
            </thead>
            <tbody>
              {values.map(({ type, value }, index) => (
                <tr key={index}>
                  <th scope="row">{index + 1}</th>
                  <td>{type}</td>
                  <td>
                    <code>{String(value)}</code>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </details>
    </>
  );
}

function StepLine({ step: { depth, text, sentence, kind, details } }: { step: Step }) {
  const mark = kind === "scan" || kind === "sort" ? "costly" : kind;
  return (
    <li class={mark} style={{ marginLeft: `${1.2 * depth}rem` }}>
      {sentence}
      <code>{text}</code>
      {details.map((detail) => (
        <code key={detail}>{detail}</code>
      ))}
    </li>
  );
}

function Limit({ name, used, limit }: { name: string; used: number; limit: number }) {
  return (
    <label>
      {name}: {count(used)} of {count(limit)}
      <meter min={0} max={limit} high={0.8 * limit} value={used} />
    </label>
  );
}
