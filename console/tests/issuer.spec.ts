// Signing in at an issuer, with an authorization code and PKCE. The service trusts an issuer that consents at once.

import { expect, filter, test } from "./console";

test.skip(process.env["CINEQUERY_KIND"] !== "issuer", "this service trusts no issuer");

const anywhere = /^request to /;

test("the console comes back from the issuer to its place", async ({ page, expected }) => {
  expected.push(anywhere);
  await page.goto("./#/movies?filter=release_year+%3C+1930");
  await page.getByRole("button", { name: "Continue to the issuer" }).click();
  await expect(page.getByText("anna", { exact: true })).toBeVisible();
  await expect(filter(page)).toHaveText("release_year < 1930");
  expect(page.url()).not.toMatch(/code|state/);
});

test("Swagger UI signs in in a window of the issuer", async ({ page, expected }) => {
  expected.push(anywhere);
  await page.goto("./docs");
  await page.getByRole("button", { name: "Authorize" }).first().click();
  const dialog = page.locator(".dialog-ux");
  const flow = dialog.locator(".auth-container", { hasText: "authorizationCode" });
  const window = page.waitForEvent("popup");
  await flow.getByRole("button", { name: "Apply given OAuth2 credentials" }).click();
  await (await window).waitForEvent("close");
  await expect(flow.getByRole("button", { name: "Remove authorization" })).toBeVisible();
  await dialog.getByRole("button", { name: "Close" }).first().click();
  const operation = page.locator('.opblock[id$="-getMe"]');
  await operation.locator(".opblock-summary-control").click();
  await operation.getByRole("button", { name: "Execute" }).click();
  await expect(page.getByText('"subject": "anna"').first()).toBeVisible();
});
