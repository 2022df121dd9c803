// All URLs are relative to the page, so that a proxy may serve it below a path of its own.
const specification = new URL("openapi.json", document.baseURI).href;

// How users sign in here. Without a response, the page offers what the specification has.
const response = await fetch(new URL("api/v1/sign-in", document.baseURI)).catch(() => undefined);
const signIn = response?.ok ? await response.json() : {};

/** Replaces the name and the password by a sign-in at the issuer, if pages can start one. */
const atIssuer = (text) => {
  if (!signIn.client_id) return text;
  const described = JSON.parse(text);
  const scheme = described.components.securitySchemes.oauth2;
  scheme.description = "Sign in at the issuer of tokens.";
  const scopes = Object.fromEntries(signIn.scope.split(" ").map((scope) => [scope, ""]));
  const { authorization_endpoint: authorizationUrl, token_endpoint: tokenUrl } = signIn;
  scheme.flows = { authorizationCode: { authorizationUrl, tokenUrl, scopes } };
  return JSON.stringify(described);
};

/** Removes the secret of the client, which pages do not have. Swagger UI sends it empty, and some issuers reject that. */
const asPublicClient = (body) => {
  if (!signIn.client_id) return body;
  const form = new URLSearchParams(body);
  form.delete("client_secret");
  return form.toString();
};

// How users authorize here.
const authorization = {
  statePlugins: {
    spec: {
      wrapActions: {
        updateSpec: (original) => (text) => original(text && atIssuer(text)),
      },
    },
    auth: {
      wrapSelectors: {
        // The user's name and password first. Client credentials are the same two by other names.
        definitionsToAuthorize: (original) => (...state) =>
          original(...state)
            .filter((definition) => definition.first().get("flow") !== "clientCredentials")
            .sortBy((definition) => definition.first().get("flow") !== "password"),
      },
      wrapActions: {
        // Ignore an empty form.
        authorize: (original) => (values) => Object.keys(values).length > 0 && original(values),
        // Swagger UI would resolve the URL against the host alone.
        authorizeRequest: (original) => ({ url, body, ...data }) =>
          original({ ...data, body: asPublicClient(body), url: new URL(url, specification).href }),
        // The browser keeps the token, and not the password.
        authorizeOauth2: (original) => ({ auth, token }) =>
          original({ auth: { ...auth, password: "" }, token }),
      },
    },
  },
  wrapComponents: {
    // Swagger UI does not know that 4XX and 5XX, which every operation has, document all error statuses.
    liveResponse: (Original, { React }) => (properties) =>
      React.createElement(Original, {
        ...properties,
        response: properties.response.update(
          "notDocumented",
          (isUnknown) => isUnknown && properties.response.get("status") < 400,
        ),
      }),
    // Focus the user name first, not the token.
    Input: (Original, { React }) => ({ autoFocus, ...properties }) =>
      React.createElement(Original, properties),
    // Enter submits the form.
    oauth2: (Original, { React }) => (properties) =>
      React.createElement(
        "div",
        {
          onKeyDown: ({ key, target, currentTarget }) =>
            key === "Enter" &&
            target.matches("input") &&
            currentTarget.querySelector(".authorize")?.click(),
        },
        React.createElement(Original, properties),
      ),
  },
};

const ui = SwaggerUIBundle({
  url: specification,
  oauth2RedirectUrl: new URL("docs/oauth2-redirect", document.baseURI).href,
  dom_id: "#swagger-ui",
  plugins: [authorization],
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  persistAuthorization: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});

if (signIn.client_id) {
  ui.initOAuth({
    clientId: signIn.client_id,
    scopes: signIn.scope,
    usePkceWithAuthorizationCodeGrant: true,
  });
}
