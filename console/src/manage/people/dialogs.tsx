// The dialogs that create, change and delete users.

import { useState } from "preact/hooks";
import type { Role, User } from "../../api/document";
import { session } from "../../session";
import { Dialog } from "../../ui/dialog";
import { useAction } from "../../ui/loading";
import { ProblemNote } from "../../ui/problem";
import { Confirm } from "../../ui/confirm";
import { Labelled, problemAt, unlessShown } from "../form";
import { NewPassword, passwordProblem } from "./password";
import { changeUser, createUser, deleteUser, revokeTokens } from "./requests";
import { ROLES } from "./roles";

interface DialogProps {
  onDone: (text: string) => void;
  onClose: () => void;
}

interface UserDialogProps extends DialogProps {
  user: User;
}

function isCaller(user: User): boolean {
  const current = session.value;
  return current.state === "signed_in" && current.me.subject === user.name;
}

function RoleSelect({ value, onRole }: { value: Role; onRole: (role: Role) => void }) {
  return (
    <Labelled label="Role" hint="The table below the users lists what each role allows.">
      {(attributes) => (
        <select {...attributes} value={value} onChange={(event) => onRole(event.currentTarget.value as Role)}>
          {ROLES.map((role) => (
            <option key={role}>{role}</option>
          ))}
        </select>
      )}
    </Labelled>
  );
}

export function NewUser({ onDone, onClose }: DialogProps) {
  const { busy, failure, run } = useAction();
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [role, setRole] = useState<Role>("viewer");
  const taken = failure?.code === "duplicate" ? failure.message : undefined;
  return (
    <Dialog title="New user" onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (passwordProblem(password)) return;
          void run(async () => {
            await createUser({ name, password, role });
            onDone(`Created the user ${name}`);
          });
        }}
      >
        <Labelled label="User name" hint="Upper and lower case are different." problem={taken ?? problemAt(failure, "name")}>
          {(attributes) => (
            <input
              {...attributes}
              autofocus
              autocomplete="off"
              required
              maxLength={100}
              value={name}
              onInput={(event) => setName(event.currentTarget.value)}
            />
          )}
        </Labelled>
        <NewPassword label="Password" value={password} problem={problemAt(failure, "password")} onValue={setPassword} />
        <RoleSelect value={role} onRole={setRole} />
        <ProblemNote failure={taken ? undefined : unlessShown(failure, ["name", "password"])} />
        <p class="quiet">Give the password to the user, who can change it in the account. It is not shown again.</p>
        <div class="actions">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button class="primary" disabled={busy}>
            Create
          </button>
        </div>
      </form>
    </Dialog>
  );
}

export function ChangeRole({ user, onDone, onClose }: UserDialogProps) {
  const { busy, failure, run } = useAction();
  const [role, setRole] = useState(user.role);
  const [accepted, setAccepted] = useState(false);
  const losesRights = isCaller(user) && user.role === "admin" && role !== "admin";
  return (
    <Dialog title={`Role of ${user.name}`} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void run(async () => {
            await changeUser(user, { role });
            onDone(`${user.name} is ${role === "viewer" ? "a" : "an"} ${role} now`);
          });
        }}
      >
        <RoleSelect value={role} onRole={setRole} />
        {losesRights && (
          <label class="check warning">
            <input type="checkbox" checked={accepted} onChange={(event) => setAccepted(event.currentTarget.checked)} />
            This is your own account. I can no longer manage users afterwards.
          </label>
        )}
        <ProblemNote failure={failure} />
        <p class="quiet">All tokens of the user are revoked within a second. The user signs in again to use the new role.</p>
        <div class="actions">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button class="primary" disabled={busy || role === user.role || (losesRights && !accepted)}>
            Change the role
          </button>
        </div>
      </form>
    </Dialog>
  );
}

export function SetPassword({ user, onDone, onClose }: UserDialogProps) {
  const { busy, failure, run } = useAction();
  const [password, setPassword] = useState("");
  return (
    <Dialog title={`Password of ${user.name}`} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (passwordProblem(password)) return;
          void run(async () => {
            await changeUser(user, { password });
            onDone(`Changed the password of ${user.name}`);
          });
        }}
      >
        <NewPassword label="New password" value={password} problem={problemAt(failure, "password")} onValue={setPassword} />
        <ProblemNote failure={unlessShown(failure, ["password"])} />
        <p class="quiet">
          All tokens of the user are revoked within a second, and all sessions end. The password is not shown again.
          {isCaller(user) && " You sign in again with the new password."}
        </p>
        <div class="actions">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button class="primary" disabled={busy}>
            Set the password
          </button>
        </div>
      </form>
    </Dialog>
  );
}

export function RevokeTokens({ user, onDone, onClose }: UserDialogProps) {
  return (
    <Confirm
      title={`Revoke the tokens of ${user.name}?`}
      action="Revoke all tokens"
      onCancel={onClose}
      onConfirm={async () => {
        await revokeTokens(user.name);
        onDone(`Revoked all tokens of ${user.name}`);
      }}
    >
      <p>
        All tokens end within a second, also those of scripts, and all sessions. The user can sign in again.
        {isCaller(user) && " This is your own account: you are asked to sign in again."}
      </p>
    </Confirm>
  );
}

export function DeleteUser({ user, onDone, onClose }: UserDialogProps) {
  return (
    <Confirm
      title={`Delete ${user.name}?`}
      action="Delete the user"
      consent={isCaller(user) ? "This is your own account. I can no longer sign in afterwards." : undefined}
      onCancel={onClose}
      onConfirm={async () => {
        await deleteUser(user);
        onDone(`Deleted the user ${user.name}`);
      }}
    >
      <p>
        The user can no longer sign in, and all tokens end within a second. Records and saved queries stay, and so does the
        name in their history.
      </p>
      <p>This cannot be undone: a new user needs a new password.</p>
    </Confirm>
  );
}
