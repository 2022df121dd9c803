// A tour of cinequery with the client that openapi-typescript and openapi-fetch make of its OpenAPI
// document: the compiler knows every path, parameter, body and response below.

import createClient from "openapi-fetch";
import type { components, operations, paths } from "cinequery";

type Problem = components["schemas"]["Problem"];
type Query = NonNullable<operations["listMovies"]["parameters"]["query"]>;

const { CINEQUERY_URL, CINEQUERY_USERNAME, CINEQUERY_PASSWORD } = process.env;
const api = createClient<paths>({ baseUrl: CINEQUERY_URL ?? "http://127.0.0.1:8080" });

const token = accepted(
  await api.POST("/api/token", {
    body: { username: CINEQUERY_USERNAME ?? "", password: CINEQUERY_PASSWORD ?? "" },
  }),
);
console.log(`signed in for ${token.expires_in} s`);
api.use({
  onRequest: ({ request }) => request.headers.set("Authorization", `Bearer ${token.access_token}`),
});

// With an idempotency key, a request whose response was lost can be sent again.
const key = crypto.randomUUID();
const create = () =>
  api.POST("/api/v1/movies", {
    params: { header: { "Idempotency-Key": key } },
    body: {
      title: "The Third Man",
      genre: "film noir",
      release_year: 1949,
      expiry_date: "2031-12-31",
    },
  });
const created = await create();
const { id, title, version } = accepted(created);
console.log(`created ${title}, version ${version}`);
if (accepted(await create()).id !== id) throw new Error("a retry created another movie");
console.log("retried: the same movie");

const found = accepted(
  await api.GET("/api/v1/movies", {
    params: {
      query: {
        filter: 'genre = "film noir" and release_year between 1940 and 1949',
        order_by: "release_year, title",
      },
    },
  }),
);
const titles = found.items.map((movie) => `${movie.title} (${movie.release_year})`);
console.log(`found ${titles.join(", ")}`);

async function* pages(query: Query) {
  for (;;) {
    const page = accepted(await api.GET("/api/v1/movies", { params: { query } }));
    yield page.items;
    if (page.next_cursor === undefined) return;
    query = { ...query, cursor: page.next_cursor };
  }
}

const walked = { movies: 0, pages: 0 };
for await (const movies of pages({ limit: 10 })) {
  walked.movies += movies.length;
  walked.pages += 1;
}
console.log(`walked ${walked.movies} movies on ${walked.pages} pages`);

const updated = await api.PATCH("/api/v1/movies/{id}", {
  params: { path: { id }, header: ifMatch(created.response) },
  body: { expiry_date: "2032-06-30" },
});
const movie = accepted(updated);
console.log(`updated to version ${movie.version}, expiring ${movie.expiry_date}`);

const history = accepted(
  await api.GET("/api/v1/movies/{id}/history", { params: { path: { id } } }),
);
console.log(`history: ${history.items.map(({ kind }) => kind).join(", ")}`);

const { error: problem } = await api.GET("/api/v1/movies", {
  params: { query: { filter: 'gnre = "film noir"' } },
});
const diagnostic = problem?.diagnostics?.[0];
if (diagnostic === undefined) throw new Error("a field that does not exist was found");
const { code, column, message, help } = diagnostic;
console.log(`rejected: ${code} at column ${column}: ${message}; ${help}`);

const batch = accepted(
  await api.POST("/api/v1/movies/batch", {
    body: {
      operations: ["Batch One", "Batch Two"].map((title) => ({
        op: "create" as const,
        record: { title, genre: "drama", release_year: 2001, expiry_date: "2031-12-31" },
      })),
    },
  }),
);
console.log(`wrote a batch: ${batch.results.map(({ status }) => status).join(", ")}`);

// Nothing is deleted unless exactly so many movies match.
const report = accepted(
  await api.DELETE("/api/v1/movies", {
    params: { query: { filter: 'title starts with "Batch "', expect: 2 } },
  }),
);
console.log(`deleted ${report.written} that match a filter`);

const remove = async (response: Response) =>
  accepted(
    await api.DELETE("/api/v1/movies/{id}", {
      params: { path: { id }, header: ifMatch(response) },
    }),
  );
await remove(updated.response);
console.log("deleted");
const restored = await api.POST("/api/v1/movies/{id}/restore", {
  params: { path: { id } },
  body: { version: 1 },
});
console.log(`restored as version ${accepted(restored).record.version}`);
await remove(restored.response);

/** Returns the data of a response, or ends the program if it is a problem. */
function accepted<T>(response: { data: T; error?: never } | { data?: never; error: Problem }): T {
  if (response.error) {
    console.error(`${response.error.code}: ${response.error.detail}`);
    process.exit(1);
  }
  return response.data;
}

/** Changes name the version they are made to: that of the response before. */
function ifMatch({ headers }: Response): { "If-Match": string } {
  const etag = headers.get("ETag");
  if (etag === null) throw new Error("a response without an ETag");
  return { "If-Match": etag };
}
