// What is shown over the table about one record or many. It is loaded when the first one is shown.

export { ChangeMany } from "./change_many";
export { DeleteMany } from "./delete_many";
export { RecordPanel } from "./panel";
export { RecentList } from "./recent_list";
