import {notice} from "./base.js";

export function show(root) {
  root.append(notice("not yet"));
}
