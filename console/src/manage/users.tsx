// The users and their roles.

import { go, place } from "../place";
import { shown } from "../schema";
import { allows, session } from "../session";
import { Menu } from "../ui/menu";
import { useLoaded } from "../ui/loading";
import { notify } from "../ui/notices";
import { ProblemNote } from "../ui/problem";
import type { User } from "../api/document";
import { ChangeRole, DeleteUser, NewUser, RevokeTokens, SetPassword } from "./people/dialogs";
import { getUser, listUsers } from "./people/requests";
import { RIGHTS, ROLES } from "./people/roles";
import { usePages } from "./pages";
import "./manage.css";

/** The dialogs about a user, by the name of their panel. */
const DIALOGS = { role: ChangeRole, password: SetPassword, revoke: RevokeTokens, delete: DeleteUser };

/** What a menu offers for a user. */
const ACTIONS: [keyof typeof DIALOGS, string][] = [
  ["role", "Change the role"],
  ["password", "Set a password"],
  ["revoke", "Revoke all tokens"],
  ["delete", "Delete"],
];

export function Users() {
  if (!allows("admin")) return <p class="warning">Your token does not allow managing users: the scope admin is needed.</p>;
  return <UserList />;
}

function UserList() {
  const pages = usePages(async (after, signal) => {
    const page = await listUsers(after, signal);
    return { items: page.items, next: page.next_after };
  });
  const close = () => go({ panel: "", record: "" });
  const done = (text: string) => {
    notify(text);
    close();
    pages.reload();
  };
  const { panel } = place.value;
  return (
    <div class="manage">
      <div class="heading">
        <h1>Users</h1>
        <button type="button" class="primary" onClick={() => go({ panel: "new", record: "" })}>
          New user
        </button>
      </div>
      <ProblemNote failure={pages.failure}>
        <button type="button" onClick={pages.reload}>
          Try again
        </button>
      </ProblemNote>
      {!pages.items && pages.loading && <p class="quiet">Loading …</p>}
      {pages.items?.length === 0 && <p>This service has no users of its own: another service issues the tokens, or any name may sign in.</p>}
      {pages.items && pages.items.length > 0 && (
        <table class="list users" aria-busy={pages.loading}>
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">Role</th>
              <th scope="col" class="wide-only">
                Created
              </th>
              <th scope="col" class="wide-only">
                Changed
              </th>
              <th scope="col">
                <span class="unseen">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {pages.items.map((user) => (
              <Row key={user.name} user={user} />
            ))}
          </tbody>
        </table>
      )}
      {pages.hasMore && (
        <button type="button" disabled={pages.loading} onClick={pages.more}>
          Show more
        </button>
      )}
      <Roles />
      {panel === "new" && <NewUser onDone={done} onClose={close} />}
      {panel in DIALOGS && <UserDialog key={place.value.record} onDone={done} onClose={close} />}
    </div>
  );
}

function Row({ user }: { user: User }) {
  const current = session.value;
  const isCaller = current.state === "signed_in" && current.me.subject === user.name;
  return (
    <tr>
      <th scope="row">
        {user.name} {isCaller && <span class="tag">you</span>}
      </th>
      <td>{user.role}</td>
      <td class="wide-only">{shown("timestamp", user.created_at)}</td>
      <td class="wide-only">{shown("timestamp", user.updated_at)}</td>
      <td class="end">
        <Menu label="⋯" title={`Actions for ${user.name}`}>
          {ACTIONS.map(([panel, text]) => (
            <button type="button" key={panel} onClick={() => go({ panel, record: user.name })}>
              {text}
            </button>
          ))}
        </Menu>
      </td>
    </tr>
  );
}

interface UserDialogProps {
  onDone: (text: string) => void;
  onClose: () => void;
}

/** The dialog of the place. It is about the present version of the user, not that of the list. */
function UserDialog({ onDone, onClose }: UserDialogProps) {
  const { record, panel } = place.value;
  const { value: user, failure } = useLoaded(record, (signal) => getUser(record, signal));
  if (failure) {
    return (
      <ProblemNote failure={failure}>
        <button type="button" onClick={onClose}>
          Close
        </button>
      </ProblemNote>
    );
  }
  if (!user) return null;
  const Content = DIALOGS[panel as keyof typeof DIALOGS];
  return <Content user={user} onDone={onDone} onClose={onClose} />;
}

/** What the roles allow. */
function Roles() {
  return (
    <section aria-labelledby="roles">
      <h2 id="roles">What the roles allow</h2>
      <div class="scroll">
        <table class="list rights">
          <thead>
            <tr>
              <th scope="col">In all collections</th>
              {ROLES.map((role) => (
                <th key={role} scope="col">
                  {role}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {RIGHTS.map(([right, roles]) => (
              <tr key={right}>
                <th scope="row">{right}</th>
                {ROLES.map((role) => (
                  <td key={role}>{roles.includes(role) ? "yes" : <span class="quiet">no</span>}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
