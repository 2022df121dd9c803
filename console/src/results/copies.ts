// A search as text for programs.

import { urlOf } from "../api/client";
import type { Applied } from "../query/state";

interface Copy {
  name: string;
  text: string;
}

/** The search as a filter, and as a request in several languages. The token is read from the environment. */
export function copies({ collection, filter, orderBy }: Applied): Copy[] {
  const base = urlOf(`api/v1/${collection}`);
  const parameters = Object.entries({ filter, order_by: orderBy, limit: "100" }).filter(([, value]) => value);
  const list = (pair: (name: string, value: string) => string) => parameters.map(([name, value]) => pair(name, value));
  return [
    { name: "filter", text: filter },
    { name: "link", text: location.href },
    {
      name: "curl",
      text: [
        `curl --get ${shell(base)}`,
        `--header "Authorization: Bearer $TOKEN"`,
        ...list((name, value) => `--data-urlencode ${shell(`${name}=${value}`)}`),
      ].join(" \\\n  "),
    },
    {
      name: "TypeScript",
      text: `const query = new URLSearchParams({
${list((name, value) => `  ${name}: ${JSON.stringify(value)},`).join("\n")}
});
const headers = { Authorization: \`Bearer \${process.env.TOKEN}\` };
const response = await fetch(\`${base}?\${query}\`, { headers });
if (!response.ok) throw new Error((await response.json()).detail);
const { items, next_cursor } = await response.json();
`,
    },
    {
      name: "Python",
      text: `import os
import requests

response = requests.get(
    ${JSON.stringify(base)},
    params={${list((name, value) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`).join(", ")}},
    headers={"Authorization": f"Bearer {os.environ['TOKEN']}"},
    timeout=30,
)
if not response.ok:
    raise RuntimeError(response.json()["detail"])
items = response.json()["items"]
`,
    },
    {
      name: "Rust",
      text: `let response = reqwest::Client::new()
    .get(${JSON.stringify(base)})
    .query(&[
${list((name, value) => `        (${JSON.stringify(name)}, ${rust(value)}),`).join("\n")}
    ])
    .bearer_auth(std::env::var("TOKEN")?)
    .send()
    .await?
    .error_for_status()?;
let page: serde_json::Value = response.json().await?;
`,
    },
  ];
}

function shell(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A literal of Rust. Characters that control the terminal, or the direction of a text, are escaped. */
function rust(text: string): string {
  const escaped = text.replace(/[\\"]/g, "\\$&").replace(/[\p{Cc}\p{Cf}\p{Cs}]/gu, (char) => `\\u{${char.codePointAt(0)?.toString(16)}}`);
  return `"${escaped}"`;
}
