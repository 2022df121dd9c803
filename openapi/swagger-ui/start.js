// How people authorize here.
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
        // A form that is sent empty has nothing to authorize with.
        authorize: (original) => (values) => Object.keys(values).length > 0 && original(values),
        // The browser keeps the token, and not the password.
        authorizeOauth2: (original) => ({ auth, token }) =>
          original({ auth: { ...auth, password: "" }, token }),
      },
    },
  },
};

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  plugins: [authorization],
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  persistAuthorization: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
