// Learn from reviewed frames.
import {notice} from "./base.js";

export function show(root) {
  root.append(notice("Nothing to learn from yet: mark frames in Review first."));
}
