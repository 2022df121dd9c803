// The issuer has sent the browser here with an authorization code. Pass it to the page that opened this window, or to the
// console, which comes here in its own window. A fragment is not sent to any server.
const found = new URLSearchParams(location.search);
// The code must not stay in the history of the browser.
history.replaceState(null, "", location.pathname);
const waiting = window.opener?.swaggerUIRedirectOauth2;

if (!waiting) {
  location.replace(`../#sign-in?${found}`);
} else {
  const { auth, state, redirectUrl, callback, errCb } = waiting;
  const fail = (message) => errCb({ authId: auth.name, source: "auth", level: "error", message });
  if (!state || found.get("state") !== state) {
    // Otherwise another site could sign the user in under a name of its choice.
    fail("The response of the issuer does not belong to this sign-in; sign in again.");
  } else if (found.has("code")) {
    delete waiting.state;
    auth.code = found.get("code");
    callback({ auth, redirectUrl });
  } else {
    fail(found.get("error_description") ?? found.get("error") ?? "The issuer returned no code.");
  }
  window.close();
}
