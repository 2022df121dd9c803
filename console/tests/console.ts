// What all tests of the console share: a page that must not complain, and requests to the API beside it.

import { AxeBuilder } from "@axe-core/playwright";
import { expect, test as base } from "@playwright/test";
import type { APIRequestContext, APIResponse, Page } from "@playwright/test";

export { expect };

const USERNAME = process.env["CINEQUERY_USERNAME"];
const PASSWORD = process.env["CINEQUERY_PASSWORD"] ?? "";

/** The API, as an administrator where the service has users. */
export class Api {
  private constructor(
    private readonly request: APIRequestContext,
    private readonly token: string,
  ) {}

  static async signedIn(request: APIRequestContext): Promise<Api> {
    const form = { grant_type: "password", username: USERNAME ?? "tests", password: PASSWORD };
    const response = await request.post("api/token", { form });
    expect(response.ok(), await response.text()).toBe(true);
    return new Api(request, (await response.json()).access_token);
  }

  send(method: string, path: string, options: { data?: unknown; params?: Record<string, string>; headers?: Record<string, string> } = {}): Promise<APIResponse> {
    const headers = { Authorization: `Bearer ${this.token}`, ...options.headers };
    return this.request.fetch(path, { method, ...options, headers });
  }

  /** Sends a request that has to succeed, and returns its JSON. */
  async json<T = any>(method: string, path: string, options: Parameters<Api["send"]>[2] = {}): Promise<T> {
    const response = await this.send(method, path, options);
    const text = await response.text();
    expect(response.ok(), `${method} ${path}: ${text}`).toBe(true);
    return text ? JSON.parse(text) : undefined;
  }

  /** Creates a movie with a title that no other has. */
  async movie(values: Record<string, unknown> = {}): Promise<{ id: string; version: number; title: string }> {
    const data = { title: unique("Movie"), genre: "tested", release_year: 1999, expiry_date: "2031-12-31", ...values };
    return this.json("POST", "api/v1/movies", { data });
  }
}

let number = 0;

/** A text that no record has yet. */
export function unique(text: string): string {
  return `${text} ${Date.now().toString(36)}${(number++).toString(36)}`;
}

/** Whether the service of this run has users, roles and passwords. */
export const hasUsers = USERNAME !== undefined;

interface Fixtures {
  api: Api;
  /** Messages that a test expects, such as a response that has to be an error. */
  expected: RegExp[];
}

export const test = base.extend<Fixtures>({
  api: async ({ request }, use) => use(await Api.signedIn(request)),
  expected: async ({}, use) => use([]),
  page: async ({ page, expected, baseURL }, use) => {
    const complaints: string[] = [];
    const origin = new URL(baseURL ?? "").origin;
    page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
    page.on("console", (message) => {
      // Chromium reports responses with an error status; the page shows these itself.
      const isStatus = /^Failed to load resource: the server responded with a status of 4\d\d/.test(message.text());
      if (["error", "warning"].includes(message.type()) && !isStatus) complaints.push(message.text());
    });
    page.on("request", (request) => {
      const url = request.url();
      if (!url.startsWith(origin) && !/^(data|blob):/.test(url)) complaints.push(`request to ${url}`);
    });
    await use(page);
    expect(complaints.filter((text) => !expected.some((pattern) => pattern.test(text)))).toEqual([]);
  },
});

/** Opens a place of the console, signed in. */
export async function open(page: Page, fragment = "#/movies"): Promise<void> {
  await page.goto(`./${fragment}`);
  const table = page.getByRole("navigation", { name: "Views" });
  const form = page.getByRole("dialog", { name: "Sign in" });
  await expect(table.or(form)).toBeVisible();
  if (await form.isVisible()) {
    await form.getByLabel("User name").fill(USERNAME ?? "");
    await form.getByLabel("Password").fill(PASSWORD);
    await form.getByRole("button", { name: "Sign in" }).click();
    await expect(table).toBeVisible();
  }
}

/** The editor of the filter. */
export function filter(page: Page) {
  return page.getByRole("textbox", { name: "Filter" });
}

/** Types a filter instead of the present one. */
export async function type(page: Page, text: string): Promise<void> {
  await filter(page).click();
  await page.keyboard.press("ControlOrMeta+a");
  await page.keyboard.press("Delete");
  await page.keyboard.type(text);
}

/** Types a filter and applies it. */
export async function search(page: Page, text: string): Promise<void> {
  await type(page, text);
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Search", exact: true }).click();
}

/** Fails for each rule of WCAG 2.2 A and AA that the page breaks. */
export async function accessible(page: Page): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`);
  expect(found).toEqual([]);
}
