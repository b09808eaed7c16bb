/** One user: what they spent, their keys and their limits, and whether they may sign in. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { call } from "../../protocol/http";
import type { UserWithTurns } from "../../protocol/types";
import { pathOf } from "../../state/route";
import { who } from "../../state/session";
import { plural, since } from "../format";
import { Keys } from "./Keys";
import { Limits } from "./Limits";
import { Answer, At, attempt, loadUsers, useAsked } from "./parts";
import { SpentBy } from "./Usage";

export function UserPage({ userId }: { userId: string }) {
  const asked = useAsked(loadUsers);
  return (
    <>
      <p>
        <a href={pathOf({ page: "admin", tab: "users", id: null })}>← All users</a>
      </p>
      <Answer asked={asked}>
        {(users) => {
          const user = users.find((one) => one.userId === userId);
          if (!user) return <p class="error">There is no such user any more. See what was erased under “Erasures”.</p>;
          return <User user={user} again={asked.again} />;
        }}
      </Answer>
    </>
  );
}

function User({ user, again }: { user: UserWithTurns; again: () => void }) {
  return (
    <>
      <h1>
        {user.name} {user.disabledAtMs !== null && <span class="badge failed">disabled</span>}
      </h1>
      <p>
        {user.role}, since <At ms={user.createdAtMs} />, {plural(user.activeTurns, "turn")} not done
      </p>
      <Access user={user} again={again} />
      <SpentBy userId={user.userId} />
      <Keys userId={user.userId} isDisabled={user.disabledAtMs !== null} />
      <Limits userId={user.userId} />
    </>
  );
}

function Access({ user, again }: { user: UserWithTurns; again: () => void }) {
  const asks = useSignal(false);
  const stop = useSignal(true);
  const first = useRef<HTMLButtonElement>(null);
  useEffect(() => first.current?.focus(), [asks.value]);
  const isMe = user.userId === who.value?.user.id;
  const disable = () => {
    asks.value = false;
    void attempt(`${user.name} is disabled.`, () => call("admin/user/disable", { userId: user.userId, stopTurns: stop.value }), again);
  };
  if (user.disabledAtMs !== null) {
    const enable = () => void attempt(`${user.name} may sign in again.`, () => call("admin/user/enable", { userId: user.userId }), again);
    return (
      <p class="banner row wrap">
        <span>
          Disabled {since(user.disabledAtMs)}: keys, tokens and sessions of {user.name} do not work.
        </span>
        <button onClick={enable}>Enable</button>
      </p>
    );
  }
  if (isMe) return <p class="quiet">This is you. Another admin can disable you.</p>;
  if (!asks.value) {
    return (
      <p>
        <button class="danger" onClick={() => (asks.value = true)}>
          Disable
        </button>
      </p>
    );
  }
  return (
    <div class="card stack" role="group" aria-label={`Disable ${user.name}`}>
      <p>Keys, tokens and sessions of {user.name} stop working within a minute, and work again when the user is enabled.</p>
      <label class="row">
        <input type="checkbox" checked={stop.value} onChange={(event) => (stop.value = event.currentTarget.checked)} /> Also stop the turns that are not done
      </label>
      <p class="row wrap">
        <button class="danger" ref={first} onClick={disable}>
          Disable {user.name}
        </button>
        <button onClick={() => (asks.value = false)}>Cancel</button>
      </p>
    </div>
  );
}
