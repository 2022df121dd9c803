// The views beside the records. They are loaded together when the first one is shown.

export { Account } from "./account";
export { Declaration } from "./declaration";
export { Export } from "./export";
export { Import } from "./import";
export { Queries } from "./queries";
export { Usage } from "./usage";
export { Users } from "./users";
