// The frame of the console: sign-in, navigation, and the view of the place.

import { useEffect } from "preact/hooks";
import type { CurrentUser, SignInMethod } from "./api/document";
import { Explain } from "./facets/explain";
import { Facets } from "./facets/facets";
import { WhyNothing } from "./facets/why";
import { elsewhere, fragmentOf, go, place } from "./place";
import type { View } from "./place";
import { QueryBar } from "./query/bar";
import { RecentChanges } from "./record/recent_button";
import { SelectionBar } from "./record/selection";
import { Results } from "./results/table";
import { Toolbar } from "./results/toolbar";
import { catalogue, label, recordType } from "./schema";
import { allows, isSigningIn, session, signOut, start } from "./session";
import { SignIn } from "./sign_in";
import { Boundary } from "./ui/boundary";
import { lazy } from "./ui/lazy";
import { ProblemNote } from "./ui/problem";
import { useLoaded } from "./ui/loading";
import { Menu } from "./ui/menu";
import { Notices, notifyProblem } from "./ui/notices";

const RecordPanel = lazy(async () => (await import("./record/dialogs")).RecordPanel);
const RecentList = lazy(async () => (await import("./record/dialogs")).RecentList);
const views = () => import("./manage/views");
const Export = lazy(async () => (await views()).Export);

/** The views other than the records. */
const SHEETS = {
  import: lazy(async () => (await views()).Import),
  queries: lazy(async () => (await views()).Queries),
  declaration: lazy(async () => (await views()).Declaration),
  users: lazy(async () => (await views()).Users),
  usage: lazy(async () => (await views()).Usage),
  account: lazy(async () => (await views()).Account),
};

export function App() {
  const starting = useLoaded("start", start);
  const current = session.value;
  if (current.state === "starting") {
    return (
      <main class="start">
        <ProblemNote failure={starting.failure}>
          <button type="button" onClick={starting.reload}>
            Try again
          </button>
        </ProblemNote>
      </main>
    );
  }
  return (
    <>
      {current.me && (
        <>
          <Header />
          <Boundary>
            <Page />
          </Boundary>
        </>
      )}
      {current.state === "signed_out" && <SignIn {...current} />}
      {current.state === "signed_in" && isSigningIn.value && (
        <SignIn method={current.method} onClose={() => (isSigningIn.value = false)} />
      )}
      <Notices />
    </>
  );
}

/** The views of a collection, with the scope that they need, and whether visitors have them. */
const COLLECTION_VIEWS: [View, string, "read" | "write", boolean][] = [
  ["records", "Records", "read", true],
  ["import", "Import", "write", false],
  ["queries", "Saved queries", "read", false],
  ["declaration", "Record type", "read", true],
];

function Header() {
  const { view } = place.value;
  const type = recordType.value;
  const current = session.value;
  const isVisitor = current.state === "signed_in" && current.isVisitor;
  const types = catalogue.value?.record_types ?? [];
  useEffect(() => {
    document.title = type ? `${label(type.collection)} · cinequery` : "cinequery";
  }, [type]);
  return (
    <header class="top">
      <a class="skip" href="#content" onClick={(event) => (event.preventDefault(), document.getElementById("content")?.focus())}>
        Skip to the content
      </a>
      <a class="name" href={fragmentOf({ ...elsewhere("records"), collection: "" })}>
        cinequery
      </a>
      {types.length > 1 && (
        <select
          aria-label="Collection"
          value={type?.collection ?? ""}
          onChange={(event) => go({ ...elsewhere("records"), collection: event.currentTarget.value })}
        >
          {types.map(({ collection }) => (
            <option key={collection} value={collection}>
              {label(collection)}
            </option>
          ))}
        </select>
      )}
      <nav aria-label="Views">
        {COLLECTION_VIEWS.filter(
          ([, , scope, isPublic]) => allows(`${type?.collection}:${scope}`) && (isPublic || !isVisitor),
        ).map(([name, text]) => (
          <a key={name} href={fragmentOf(elsewhere(name))} aria-current={view === name ? "page" : undefined}>
            {text}
          </a>
        ))}
        {allows("admin") && (
          <a href={fragmentOf(elsewhere("users"))} aria-current={view === "users" ? "page" : undefined}>
            Users
          </a>
        )}
        {!isVisitor && (
          <a href={fragmentOf(elsewhere("usage"))} aria-current={view === "usage" ? "page" : undefined}>
            Usage
          </a>
        )}
      </nav>
      <span class="spring" />
      {view === "records" && <RecentChanges />}
      <Documents />
      {current.state === "signed_in" && <Caller {...current} />}
    </header>
  );
}

/** The documents of the service. Narrow windows have them in the menu. */
function Documents() {
  return (
    <span class="documents">
      <a href="docs/guide">Manual</a>
      <a href="docs">API</a>
    </span>
  );
}

/** Who is signed in, and a way to change that. */
function Caller({ method, me, isVisitor }: { method: SignInMethod; me: CurrentUser; isVisitor: boolean }) {
  if (isVisitor) {
    return (
      <Menu label="Not signed in" title="Account">
        <button type="button" onClick={() => (isSigningIn.value = true)}>
          Sign in
        </button>
        <Documents />
      </Menu>
    );
  }
  return (
    <Menu label={me.subject} title="Account">
      <a href={fragmentOf(elsewhere("account"))}>Account</a>
      <Documents />
      {method.method !== "open" && (
        <button type="button" onClick={() => void signOut().catch(notifyProblem)}>
          Sign out
        </button>
      )}
    </Menu>
  );
}

function Page() {
  const type = recordType.value;
  if (!type) {
    return (
      <main id="content" tabIndex={-1} class="start">
        <p class="problem" role="alert">
          There is no collection “{place.value.collection}”.{" "}
          <a href={fragmentOf({ ...elsewhere("records"), collection: "" })}>Show the first one</a>
        </p>
      </main>
    );
  }
  const view = place.value.view;
  if (view === "records") return <Records key={type.collection} />;
  const Content = SHEETS[view];
  return (
    <main id="content" tabIndex={-1} class="sheet">
      <Content key={type.collection} />
    </main>
  );
}

function Records() {
  const { panel, record } = place.value;
  return (
    <div class="records">
      <Facets />
      <main id="content" tabIndex={-1}>
        <h1 class="hidden">{label(recordType.value?.collection ?? "")}</h1>
        <QueryBar />
        <Toolbar />
        {panel === "explain" && <Explain />}
        <WhyNothing />
        <Results />
        <SelectionBar />
      </main>
      {record && (
        <Boundary key={record}>
          <RecordPanel />
        </Boundary>
      )}
      {panel === "export" && <Export />}
      {panel === "recent" && <RecentList />}
    </div>
  );
}
