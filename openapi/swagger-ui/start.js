// All URLs are relative to the page, so that a proxy may serve it below a path of its own.
const specification = new URL("openapi.json", document.baseURI).href;

// How users authorize here.
const authorization = {
  statePlugins: {
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
        authorizeRequest: (original) => ({ url, ...data }) =>
          original({ ...data, url: new URL(url, specification).href }),
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

SwaggerUIBundle({
  url: specification,
  dom_id: "#swagger-ui",
  plugins: [authorization],
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  persistAuthorization: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
