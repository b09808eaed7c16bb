/** The operator's pages; each is a file in operate/. */
import { type AdminTab, pathOf } from "../state/route";
import { who } from "../state/session";
import { Audit } from "./operate/Audit";
import { Erasures } from "./operate/Erasures";
import { Feedback } from "./operate/Feedback";
import { Queue, Workers } from "./operate/Fleet";
import { Health } from "./operate/Health";
import { Turns } from "./operate/Turns";
import { Usage } from "./operate/Usage";
import { UserPage } from "./operate/UserPage";
import { Users } from "./operate/Users";
import { Webhooks } from "./operate/Webhooks";
import { TurnDetails } from "./TurnDetails";

const TABS: Record<AdminTab, string> = {
  turns: "Turns",
  queue: "Queue",
  workers: "Workers",
  users: "Users",
  usage: "Usage",
  feedback: "Feedback",
  webhooks: "Webhooks",
  audit: "Audit",
  erasures: "Erasures",
  health: "Health",
};

export function Admin({ tab, id }: { tab: AdminTab; id: string | null }) {
  if (who.value?.user.role !== "admin") return <p class="center">Only admins may see this page. Ask your operator for the role.</p>;
  return (
    <section class="admin stack">
      <nav class="tabs" aria-label="Operate">
        {(Object.keys(TABS) as AdminTab[]).map((name) => (
          <a key={name} href={pathOf({ page: "admin", tab: name, id: null })} aria-current={name === tab ? "page" : undefined}>
            {TABS[name]}
          </a>
        ))}
      </nav>
      <Tab key={`${tab} ${id}`} tab={tab} id={id} />
    </section>
  );
}

function Tab({ tab, id }: { tab: AdminTab; id: string | null }) {
  switch (tab) {
    case "turns":
      return id ? <TurnDetails turnId={id} /> : <Turns />;
    case "queue":
      return <Queue />;
    case "workers":
      return <Workers />;
    case "users":
      return id ? <UserPage userId={id} /> : <Users />;
    case "usage":
      return <Usage />;
    case "feedback":
      return <Feedback />;
    case "webhooks":
      return <Webhooks />;
    case "audit":
      return <Audit />;
    case "erasures":
      return <Erasures />;
    case "health":
      return <Health />;
  }
}
