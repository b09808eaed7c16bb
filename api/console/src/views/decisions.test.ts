/** Who has answered, in words, and of what a notification tells. */
import { describe, expect, it } from "vitest";
import type { WaitingRequest } from "../protocol/types";
import { newOnes, notifications } from "../state/notifications";
import { answeredBy, decisionText } from "./decisions";

const request = (id: number) => ({ id }) as WaitingRequest;

describe("an answer", () => {
  it("is said in words, whatever the decision is", () => {
    expect(decisionText("accept")).toBe("Accepted:");
    expect(decisionText("constructor")).toBe("Answered “constructor”:");
  });

  it("says from where it came", () => {
    const by = (via: string | null, keyName: string | null) => answeredBy({ decision: "accept", atMs: 0, via, keyName });
    expect(by("websocket", "laptop")).toBe("by you, from a connected client, with the key “laptop”");
    expect(by("http", null)).toBe("by you, from a browser or a script");
    expect(by("timeout", null)).toBe("by nobody in time");
    expect(by(null, null)).toBe("by you");
  });
});

describe("notifications", () => {
  it("tell of what was in no earlier list, and not of the first list", () => {
    expect(newOnes(null, [request(1)])).toEqual([]);
    expect(newOnes(new Set([1]), [request(1), request(2)])).toEqual([request(2)]);
    expect(newOnes(new Set([1, 2]), [])).toEqual([]);
  });

  it("are not offered where there are none", () => {
    expect(notifications.value).toBe("unable");
  });
});
