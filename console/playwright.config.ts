import { defineConfig } from "@playwright/test";

// `make console` and tests/console.rs start the services and set these:
//
// - CINEQUERY_KIND: `users`, `visitor` for a public catalogue, or `issuer` for one that trusts an issuer
// - CINEQUERY_URL: the URL of a service with the sample movies and a second collection
// - CINEQUERY_USERNAME, CINEQUERY_PASSWORD: an administrator of that service
// - CHROMIUM: the path of the browser
export default defineConfig({
  testDir: "tests",
  outputDir: "test-results",
  reporter: [["line"]],
  // Machines that run the tests are slow: a test waits for what the screen has to show, and these only end it.
  timeout: 90_000,
  expect: { timeout: 20_000 },
  // The tests share one service, and some change its records.
  workers: 1,
  use: {
    ...(process.env["CINEQUERY_URL"] ? { baseURL: process.env["CINEQUERY_URL"] } : {}),
    viewport: { width: 1280, height: 800 },
    locale: "en-GB",
    launchOptions: {
      executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
      args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
    },
  },
});
