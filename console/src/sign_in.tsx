import type { CurrentUser, SignInMethod } from "./api/document";
import { Failure } from "./api/client";
import { signIn, signInElsewhere } from "./session";
import { Dialog } from "./ui/dialog";
import { useAction } from "./ui/loading";
import { ProblemNote } from "./ui/problem";

interface SignInProps {
  method: SignInMethod;
  reason?: string;
  /** The user whose session has ended. */
  me?: CurrentUser;
  /** Goes on without signing in. */
  onClose?: () => void;
}

/** The form to sign in, over the page that a session left. */
export function SignIn({ method, reason, me, onClose }: SignInProps) {
  const action = useAction();
  const isElsewhere = method.method === "oidc";
  return (
    <Dialog title="Sign in" program="cinequery" {...(onClose ? { onClose } : {})}>
      {reason && <p>{reason}</p>}
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const values = new FormData(event.currentTarget);
          const text = (name: string) => String(values.get(name) ?? "");
          void action.run(() => (isElsewhere ? signInElsewhere(method) : signIn(method, text("name"), text("password"))));
        }}
      >
        {!isElsewhere && (
          <label>
            User name
            <input name="name" autocomplete="username" required defaultValue={me?.subject ?? ""} autofocus={!me} />
          </label>
        )}
        {method.method === "password" && (
          <label>
            Password
            <input name="password" type="password" autocomplete="current-password" required autofocus={Boolean(me)} />
          </label>
        )}
        {isElsewhere && !method.authorization_endpoint && (
          <ProblemNote failure={new Failure({ detail: "This service has no client id for pages: set --oidc-client-id." })} />
        )}
        <ProblemNote failure={action.failure} />
        <button class="primary" disabled={action.busy || (isElsewhere && !method.authorization_endpoint)}>
          {isElsewhere ? "Continue to the issuer" : "Sign in"}
        </button>
      </form>
    </Dialog>
  );
}
