// Made by `make console` from our own /openapi.json; do not edit.
export type paths = Record<string, never>;
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        AccountRateLimitsReadParams: Record<string, never>;
        AccountRateLimitsReadResult: {
            ordinaryUsageAllowed: boolean;
            rateLimits: components["schemas"]["RateLimitSnapshot"];
            rateLimitsByLimitId: {
                [key: string]: components["schemas"]["RateLimitSnapshot"];
            } | null;
        };
        AccountReadParams: Record<string, never>;
        AccountReadResult: {
            account: null;
            requiresOpenaiAuth: boolean;
            userId: string;
            workspaceRouting: null;
        };
        AccountUsageReadParams: Record<string, never>;
        AccountUsageReadResult: {
            dailyUsageBuckets: components["schemas"]["DailyUsage"][];
            summary: components["schemas"]["UsageSummary"];
        };
        AdminAlertsListParams: Record<string, never>;
        AdminAlertsListResult: {
            data: components["schemas"]["AlertObject"][];
            watchedAtMs: number | null;
        };
        AdminAuditListParams: {
            action?: string | null;
            cursor?: string | null;
            /** @default 50 */
            limit?: number;
            threadId?: string | null;
            userId?: string | null;
        };
        AdminAuditListResult: {
            data: components["schemas"]["AuditObject"][];
            nextCursor: string | null;
        };
        AdminEndedTurnListParams: {
            cursor?: string | null;
            /** @default 50 */
            limit?: number;
            /** @enum {string|null} */
            status?: "completed" | "interrupted" | "failed" | null;
            userId?: string | null;
        };
        AdminEndedTurnListResult: {
            data: components["schemas"]["EndedTurnObject"][];
            nextCursor: string | null;
        };
        AdminErasureListParams: {
            cursor?: string | null;
            /** @default 50 */
            limit?: number;
        };
        AdminErasureListResult: {
            data: components["schemas"]["ErasureObject"][];
            nextCursor: string | null;
        };
        AdminFeedbackListParams: {
            cursor?: string | null;
            /** @default 50 */
            limit?: number;
            /** @enum {string|null} */
            status?: "received" | "processing" | "delivered" | "failed" | null;
        };
        AdminFeedbackListResult: {
            data: components["schemas"]["UserReport"][];
            nextCursor: string | null;
        };
        AdminFeedbackRetryParams: {
            feedbackId: string;
        };
        AdminFeedbackRetryResult: Record<string, never>;
        AdminKeyCreateParams: {
            expiresAtMs?: number | null;
            /** @default default */
            label?: string;
            userId: string;
        };
        AdminKeyCreateResult: {
            key: string;
        };
        AdminKeyListParams: {
            cursor?: string | null;
            /** @default 50 */
            limit?: number;
            userId: string;
        };
        AdminKeyListResult: {
            data: components["schemas"]["KeyObject"][];
            nextCursor: string | null;
        };
        AdminKeyRevokeParams: {
            keyId: string;
        };
        AdminKeyRevokeResult: Record<string, never>;
        AdminOverviewReadParams: Record<string, never>;
        AdminOverviewReadResult: {
            atMs: number;
            causes: components["schemas"]["CauseObject"][];
            newTurns: number;
            queues: components["schemas"]["WaitingObject"][];
            slots: number;
            tokensToday: number;
            turns: components["schemas"]["TurnCounts"];
            users: components["schemas"]["UserLoadObject"][];
            workers: components["schemas"]["WorkerCounts"];
        };
        AdminQueueReadParams: Record<string, never>;
        AdminQueueReadResult: {
            data: components["schemas"]["WaitingObject"][];
        };
        AdminTurnInterruptParams: {
            threadId: string;
        };
        AdminTurnInterruptResult: {
            interrupted: boolean;
        };
        AdminTurnListParams: {
            /** @default 100 */
            limit?: number;
            /** @enum {string|null} */
            state?: "queued" | "running" | "parked" | null;
            userId?: string | null;
            worker?: string | null;
        };
        AdminTurnListResult: {
            data: components["schemas"]["OpenTurnObject"][];
        };
        AdminTurnReadParams: {
            turnId: string;
        };
        AdminTurnReadResult: {
            log: string[];
            status: string;
            threadId: string;
            timeline: components["schemas"]["Moment"][];
            userId: string;
            waits: components["schemas"]["OpenTurnObject"] | null;
        };
        AdminTurnRequeueParams: {
            turnId: string;
        };
        AdminTurnRequeueResult: {
            requeued: boolean;
        };
        AdminUsageReadParams: {
            fromDay?: string | null;
            groupBy?: ("day" | "user" | "model")[] | null;
            toDay?: string | null;
            userId?: string | null;
        };
        AdminUsageReadResult: {
            currency: string;
            data: components["schemas"]["SpendingObject"][];
            fromDay: string;
            toDay: string;
        };
        AdminUserAddParams: {
            name: string;
            /**
             * @default member
             * @enum {string}
             */
            role?: "member" | "admin";
        };
        AdminUserAddResult: {
            user: components["schemas"]["UserObject"];
        };
        AdminUserDisableParams: {
            /** @default false */
            stopTurns?: boolean;
            userId: string;
        };
        AdminUserDisableResult: {
            user: components["schemas"]["UserObject"];
        };
        AdminUserEnableParams: {
            userId: string;
        };
        AdminUserEnableResult: {
            user: components["schemas"]["UserObject"];
        };
        AdminUserLimitsReadParams: {
            userId: string;
        };
        AdminUserLimitsReadResult: {
            data: components["schemas"]["UserLimitObject"][];
            usedBytes: number;
        };
        AdminUserLimitsSetParams: {
            limits: {
                [key: string]: number | null;
            };
            userId: string;
        };
        AdminUserLimitsSetResult: {
            data: components["schemas"]["UserLimitObject"][];
        };
        AdminUserListParams: Record<string, never>;
        AdminUserListResult: {
            data: components["schemas"]["UserWithTurns"][];
        };
        AdminWebhookListParams: {
            cursor?: string | null;
            /** @default 50 */
            limit?: number;
            /** @enum {string|null} */
            state?: "pending" | "delivered" | "dead" | null;
        };
        AdminWebhookListResult: {
            data: components["schemas"]["DeliveryObject"][];
            nextCursor: string | null;
            webhooks: string[];
        };
        AdminWebhookReplayParams: {
            deliveryId: string;
        };
        AdminWebhookReplayResult: Record<string, never>;
        AdminWorkerListParams: Record<string, never>;
        AdminWorkerListResult: {
            data: components["schemas"]["WorkerObject"][];
        };
        AgentMessage: {
            delivery: null;
            memoryCitation: null;
            moderation: null;
            phase: string | null;
            questions: null;
            text: string;
            /** @enum {string} */
            type: "agentMessage";
        };
        AlertObject: {
            doc: string;
            message: string;
            name: string;
            next: string;
            /** @enum {string} */
            severity: "critical" | "warning" | "info";
            sinceMs: number;
            untilMs: number | null;
        };
        AnswerObject: {
            atMs: number;
            decision: string;
            keyName: string | null;
            via: string | null;
        };
        AuditObject: {
            action: string;
            address: string | null;
            atMs: number;
            detail: string | null;
            keyId: string | null;
            subjectId: string | null;
            threadId: string | null;
            transport: string | null;
            userId: string;
        };
        BackgroundTerminal: {
            command: string;
            cpuPercent: null;
            cwd: string;
            itemId: string;
            osPid: null;
            processId: string;
            rssKb: null;
        };
        CallOutput: {
            call_id: string;
            output: string | (components["schemas"]["TextPart"] | components["schemas"]["ImagePart"])[];
            /** @enum {string} */
            type: "function_call_output" | "custom_tool_call_output";
        };
        Capabilities: {
            /** @default [] */
            optOutNotificationMethods?: string[];
        };
        CauseObject: {
            cause: string;
            count: number;
            sinceMs: number;
            state: string;
        };
        ClientInfo: {
            name: string;
            version: string;
        };
        CollaborationMode: {
            /** @enum {string} */
            mode: "default" | "plan";
            settings: components["schemas"]["ModeSettings"];
        };
        CommandAction: {
            command: string;
            name?: string;
            path?: string | null;
            query?: string | null;
            /** @enum {string} */
            type: "read" | "listFiles" | "search" | "unknown";
        };
        CommandExecParams: {
            command: string[];
            cwd?: string | null;
            /** @default false */
            disableOutputCap?: boolean;
            /** @default false */
            disableTimeout?: boolean;
            /** @default {} */
            env?: {
                [key: string]: string | null;
            };
            outputBytesCap?: number | null;
            permissionProfile?: string | null;
            processId?: string | null;
            sandboxPolicy?: components["schemas"]["SandboxPolicy"] | null;
            size?: components["schemas"]["Size"] | null;
            /** @default false */
            streamStdin?: boolean;
            /** @default false */
            streamStdoutStderr?: boolean;
            timeoutMs?: number | null;
            /** @default false */
            tty?: boolean;
        };
        CommandExecResizeParams: {
            processId: string;
            size: components["schemas"]["Size"];
        };
        CommandExecResult: {
            exitCode: number;
            stderr: string;
            stdout: string;
        };
        CommandExecTerminateParams: {
            processId: string;
        };
        CommandExecWriteParams: {
            /** @default false */
            closeStdin?: boolean;
            deltaBase64?: string | null;
            processId: string;
        };
        CommandExecution: {
            aggregatedOutput: string | null;
            command: string;
            commandActions: components["schemas"]["CommandAction"][];
            cwd: string;
            durationMs: number | null;
            exitCode: number | null;
            pluginId: null;
            processId: string | null;
            scriptPath: null;
            source: string;
            /** @enum {string} */
            status: "inProgress" | "completed" | "failed" | "declined";
            /** @enum {string} */
            type: "commandExecution";
        };
        ConfigBatchWriteParams: {
            edits: components["schemas"]["ConfigEdit"][];
            expectedVersion?: string | null;
            filePath?: string | null;
        };
        ConfigEdit: {
            keyPath: string;
            /** @enum {string} */
            mergeStrategy: "replace" | "upsert";
            value: unknown;
        };
        ConfigMcpServerReloadParams: Record<string, never>;
        ConfigReadParams: {
            /** @default false */
            includeLayers?: boolean;
        };
        ConfigReadResult: {
            config: {
                [key: string]: unknown;
            };
            layers: components["schemas"]["Layer"][] | null;
            origins: {
                [key: string]: components["schemas"]["Origin"];
            };
        };
        ConfigRequirementsReadParams: Record<string, never>;
        ConfigRequirementsReadResult: {
            requirements: null;
            supportsIndependentSpeedModes: boolean;
        };
        ConfigValueWriteParams: {
            expectedVersion?: string | null;
            filePath?: string | null;
            keyPath: string;
            /** @enum {string} */
            mergeStrategy: "replace" | "upsert";
            value: unknown;
        };
        ConfigValueWriteResult: {
            filePath: string;
            overriddenMetadata: null;
            /** @enum {string} */
            status: "ok";
            version: string;
        };
        ContextCompaction: {
            /** @enum {string} */
            type: "contextCompaction";
        };
        CustomToolCall: {
            call_id: string;
            input: string;
            name: string;
            /** @enum {string} */
            type: "custom_tool_call";
        };
        DailyUsage: {
            startDate: string;
            tokens: number;
        };
        DeliveryObject: {
            attempts: number;
            changedAtMs: number;
            createdAtMs: number;
            deliveryId: string;
            dueAtMs: number | null;
            error: string | null;
            event: string;
            state: string;
            threadId: string | null;
            turnId: string | null;
            url: string;
            userId: string | null;
        };
        DenialEvent: {
            action: {
                [key: string]: unknown;
            };
            id: string;
            status: string;
            target_item_id: string;
        };
        DirectoryEntry: {
            fileName: string;
            isDirectory: boolean;
            isFile: boolean;
        };
        DynamicTool: {
            /** @default  */
            description?: string;
            /**
             * @default {
             *       "properties": {},
             *       "type": "object"
             *     }
             */
            inputSchema?: {
                [key: string]: unknown;
            };
            name: string;
            /** @default [] */
            tools?: components["schemas"]["Function"][];
            /**
             * @default function
             * @enum {string}
             */
            type?: "function" | "namespace";
        };
        DynamicToolCall: {
            arguments: unknown;
            contentItems: unknown[] | null;
            durationMs: number | null;
            namespace: string | null;
            /** @enum {string} */
            status: "inProgress" | "completed" | "failed" | "declined";
            success: boolean | null;
            tool: string;
            /** @enum {string} */
            type: "dynamicToolCall";
        };
        Empty: Record<string, never>;
        EndedTurnObject: {
            createdAtMs: number;
            endedAtMs: number | null;
            error: string | null;
            startedAtMs: number | null;
            status: string;
            threadId: string;
            turnId: string;
            userId: string;
        };
        Environment: {
            cwd: string;
            environmentId: string;
            runtimeWorkspaceRoots: string[];
        };
        ErasureListParams: {
            cursor?: string | null;
            /** @default 25 */
            limit?: number;
        };
        ErasureListResult: {
            data: components["schemas"]["ErasureReceipt"][];
            nextCursor: string | null;
        };
        ErasureObject: {
            cause: string;
            doneAtMs: number | null;
            id: string;
            kind: string;
            receipt: {
                [key: string]: number;
            };
            requestedAtMs: number;
            subjectId: string;
            userId: string;
        };
        ErasureReceipt: {
            /** @enum {string} */
            cause: "thread/delete" | "retention";
            doneAtMs: number | null;
            id: string;
            receipt: {
                [key: string]: number;
            };
            requestedAtMs: number;
            threadId: string;
        };
        FeedbackListParams: {
            cursor?: string | null;
            limit?: number | null;
        };
        FeedbackListResult: {
            data: components["schemas"]["FeedbackReport"][];
            nextCursor: string | null;
        };
        FeedbackReadParams: {
            feedbackId: string;
        };
        FeedbackReadResult: {
            feedback: components["schemas"]["FeedbackReport"];
        };
        FeedbackReport: {
            classification: string;
            createdAt: number;
            duplicateOf: string | null;
            error: string | null;
            id: string;
            includeLogs: boolean;
            reason: string | null;
            status: string;
            tags: {
                [key: string]: string;
            };
            threadId: string | null;
            updatedAt: number;
        };
        FeedbackUploadParams: {
            classification: string;
            /** @default false */
            includeLogs?: boolean;
            reason?: string | null;
            /** @default {} */
            tags?: {
                [key: string]: string;
            };
            threadId?: string | null;
        };
        FeedbackUploadResult: {
            feedbackId: string;
            promptHash: null;
            threadId: string;
        };
        FileChange: {
            changes: components["schemas"]["FileUpdate"][];
            /** @enum {string} */
            status: "inProgress" | "completed" | "failed" | "declined";
            /** @enum {string} */
            type: "fileChange";
        };
        FileChangeKind: {
            move_path?: string | null;
            /** @enum {string} */
            type: "add" | "delete" | "update";
        };
        FileUpdate: {
            diff: string;
            kind: components["schemas"]["FileChangeKind"];
            path: string;
        };
        FolderHooks: {
            cwd: string;
            errors: components["schemas"]["HookFileProblem"][];
            hooks: components["schemas"]["ListedHook"][];
            warnings: string[];
        };
        FolderSkills: {
            cwd: string;
            errors: components["schemas"]["SkillError"][];
            skills: components["schemas"]["SkillMetadata"][];
        };
        FoundFile: {
            file_name: string;
            indices: number[] | null;
            /** @enum {string} */
            match_type: "file" | "directory";
            path: string;
            root: string;
            score: number;
        };
        FoundPlace: {
            itemId: string;
            snippet: string;
            snippetMatchRange: components["schemas"]["TextRange"];
            turnCursor: string;
            turnId: string;
        };
        FoundThread: {
            snippet: string;
            thread: components["schemas"]["ThreadObject"];
        };
        FsCopyParams: {
            destinationPath: string;
            /** @default false */
            recursive?: boolean;
            sourcePath: string;
        };
        FsCreateDirectoryParams: {
            path: string;
            /** @default true */
            recursive?: boolean;
        };
        FsGetMetadataParams: {
            path: string;
        };
        FsGetMetadataResult: {
            createdAtMs: number;
            isDirectory: boolean;
            isFile: boolean;
            isSymlink: boolean;
            modifiedAtMs: number;
        };
        FsReadDirectoryParams: {
            path: string;
        };
        FsReadDirectoryResult: {
            entries: components["schemas"]["DirectoryEntry"][];
        };
        FsReadFileParams: {
            path: string;
        };
        FsReadFileResult: {
            dataBase64: string;
        };
        FsRemoveParams: {
            /** @default true */
            force?: boolean;
            path: string;
            /** @default true */
            recursive?: boolean;
        };
        FsWriteFileParams: {
            dataBase64: string;
            path: string;
        };
        Function: {
            /** @default  */
            description?: string;
            /**
             * @default {
             *       "properties": {},
             *       "type": "object"
             *     }
             */
            inputSchema?: {
                [key: string]: unknown;
            };
            name: string;
        };
        FunctionCall: {
            arguments: string;
            call_id: string;
            name: string;
            namespace?: string;
            /** @enum {string} */
            type: "function_call";
        };
        FuzzyFileSearchParams: {
            cancellationToken?: string | null;
            query: string;
            roots: string[];
        };
        FuzzyFileSearchResult: {
            files: components["schemas"]["FoundFile"][];
        };
        FuzzyFileSearchSessionStartParams: {
            roots: string[];
            sessionId: string;
        };
        FuzzyFileSearchSessionStopParams: {
            sessionId: string;
        };
        FuzzyFileSearchSessionUpdateParams: {
            query: string;
            sessionId: string;
        };
        GitDiffToRemoteParams: {
            cwd: string;
        };
        GitDiffToRemoteResult: {
            diff: string;
            sha: string;
        };
        GitInfo: {
            branch: string | null;
            originUrl: string | null;
            sha: string | null;
        };
        GitInfoChange: {
            branch?: string | null;
            originUrl?: string | null;
            sha?: string | null;
        };
        GranularPolicy: {
            granular: {
                [key: string]: boolean;
            };
        };
        HookFileProblem: {
            message: string;
            path: string;
        };
        HookFragment: {
            hookRunId: string;
            text: string;
        };
        HookPrompt: {
            fragments: components["schemas"]["HookFragment"][];
            /** @enum {string} */
            type: "hookPrompt";
        };
        HooksListParams: {
            /** @default [] */
            cwds?: string[];
        };
        HooksListResult: {
            data: components["schemas"]["FolderHooks"][];
        };
        ImageInput: {
            /** @enum {string} */
            type: "image";
            url: string;
        };
        ImagePart: {
            image_url: string;
            /** @enum {string} */
            type: "input_image";
        };
        ImageView: {
            path: string;
            /** @enum {string} */
            type: "imageView";
        };
        InitialTurnsPage: {
            /**
             * @default summary
             * @enum {string}
             */
            itemsView?: "notLoaded" | "summary" | "full";
            limit?: number | null;
            /**
             * @default desc
             * @enum {string}
             */
            sortDirection?: "asc" | "desc";
        };
        InitializeParams: {
            /**
             * @default {
             *       "optOutNotificationMethods": []
             *     }
             */
            capabilities?: components["schemas"]["Capabilities"];
            clientInfo: components["schemas"]["ClientInfo"];
        };
        InitializeResult: {
            codexHome: string;
            platformFamily: string;
            platformOs: string;
            userAgent: string;
        };
        ItemEntry: {
            completedAtMs: number | null;
            item: (components["schemas"]["UserMessage"] | components["schemas"]["AgentMessage"] | components["schemas"]["Reasoning"] | components["schemas"]["CommandExecution"] | components["schemas"]["FileChange"] | components["schemas"]["DynamicToolCall"] | components["schemas"]["McpToolCall"] | components["schemas"]["ImageView"] | components["schemas"]["WebSearch"] | components["schemas"]["Plan"] | components["schemas"]["ReviewMode"] | components["schemas"]["ContextCompaction"] | components["schemas"]["HookPrompt"]) & components["schemas"]["ItemRow"];
            startedAtMs: number | null;
            turnId: string;
        };
        ItemRow: {
            completedAtMs: number | null;
            id: string;
            startedAtMs: number | null;
        };
        ItemsPage: {
            backwardsCursor: string | null;
            data: components["schemas"]["ItemEntry"][];
            nextCursor: string | null;
        };
        KeyObject: {
            createdAtMs: number;
            expiresAtMs: number | null;
            keyId: string;
            label: string;
            lastUsedAtMs: number | null;
            revokedAtMs: number | null;
        };
        Layer: {
            config: {
                [key: string]: unknown;
            };
            disabledReason: null;
            name: components["schemas"]["ServerLayer"] | components["schemas"]["UserLayer"];
            version: string;
        };
        ListedHook: {
            additionalContextLimit: null;
            async: boolean;
            command: string;
            currentHash: string;
            displayOrder: number;
            enabled: boolean;
            environmentId: null;
            /** @enum {string} */
            eventName: "preToolUse" | "permissionRequest" | "postToolUse" | "preCompact" | "postCompact" | "sessionStart" | "sessionEnd" | "userPromptSubmit" | "subagentStart" | "subagentStop" | "stop";
            /** @enum {string} */
            handlerType: "command";
            isManaged: boolean;
            key: string;
            matcher: string | null;
            pluginId: null;
            /** @enum {string} */
            source: "system" | "user" | "project";
            sourcePath: string;
            statusMessage: string | null;
            timeoutSec: number;
            /** @enum {string} */
            trustStatus: "managed" | "trusted" | "modified" | "untrusted";
        };
        LocalImageInput: {
            path: string;
            /** @enum {string} */
            type: "localImage";
        };
        McpServerOauthLoginParams: {
            name: string;
            scopes?: string[] | null;
            threadId?: string | null;
            timeoutSecs?: number | null;
        };
        McpServerOauthLoginResult: {
            authorizationUrl: string;
            loginId: string;
        };
        McpServerOauthLogoutParams: {
            name: string;
            threadId?: string | null;
        };
        McpServerOauthLogoutResult: {
            removed: boolean;
        };
        McpServerResourceReadParams: {
            server: string;
            threadId?: string | null;
            uri: string;
        };
        McpServerResourceReadResult: {
            contents: unknown[];
            originCallId: null;
        };
        McpServerStatusListParams: {
            cursor?: string | null;
            /**
             * @default full
             * @enum {string}
             */
            detail?: "full" | "toolsAndAuthOnly";
            limit?: number | null;
            threadId?: string | null;
        };
        McpServerStatusListResult: {
            data: {
                [key: string]: unknown;
            }[];
            nextCursor: string | null;
        };
        McpServerToolCallParams: {
            _meta?: {
                [key: string]: unknown;
            } | null;
            arguments?: {
                [key: string]: unknown;
            } | null;
            server: string;
            threadId: string;
            tool: string;
        };
        McpServerToolCallResult: {
            _meta: {
                [key: string]: unknown;
            } | null;
            content: unknown[];
            isError: boolean | null;
            structuredContent: unknown;
        };
        McpToolCall: {
            appContext: null;
            arguments: unknown;
            durationMs: number | null;
            environmentId: null;
            error: components["schemas"]["McpToolCallError"] | null;
            mcpAppUi: null;
            pluginId: null;
            readOnlyHint: boolean | null;
            result: {
                [key: string]: unknown;
            } | null;
            server: string;
            /** @enum {string} */
            status: "inProgress" | "completed" | "failed" | "declined";
            tool: string;
            /** @enum {string} */
            type: "mcpToolCall";
        };
        McpToolCallError: {
            message: string;
        };
        MentionInput: {
            name: string;
            path: string;
            /** @enum {string} */
            type: "skill" | "mention";
        };
        Message: {
            content: string | (components["schemas"]["TextPart"] | components["schemas"]["ImagePart"])[];
            phase?: string;
            role: string;
            /** @enum {string} */
            type: "message";
        };
        ModeSettings: {
            developer_instructions: string | null;
            model: string | null;
            reasoning_effort: string | null;
        };
        Model: {
            additionalSpeedTiers: string[];
            availabilityNux: null;
            availableAccessPrograms: null;
            defaultReasoningEffort: string;
            defaultServiceTier: null;
            description: string;
            displayName: string;
            hidden: boolean;
            id: string;
            inputModalities: string[];
            isDefault: boolean;
            model: string;
            modelSpecialty: null;
            multiAgentVersion: null;
            serviceTiers: string[];
            supportedReasoningEfforts: components["schemas"]["ReasoningEffort"][];
            supportsPersonality: boolean;
            upgrade: null;
            upgradeInfo: null;
        };
        ModelListParams: {
            /** @default 0 */
            cursor?: string;
            /** @default false */
            includeHidden?: boolean;
            limit?: number | null;
        };
        ModelListResult: {
            data: components["schemas"]["Model"][];
            nextCursor: string | null;
        };
        ModelProviderCapabilitiesReadParams: Record<string, never>;
        ModelProviderCapabilitiesReadResult: {
            imageGeneration: boolean;
            webSearch: boolean;
        };
        ModelProviderDefaultSetParams: {
            providerId: string;
        };
        ModelProviderListParams: Record<string, never>;
        ModelProviderListResult: {
            canChangeDefault: boolean;
            data: components["schemas"]["Provider"][];
            defaultProviderId: string;
        };
        Moment: {
            atMs: number;
            what: string;
        };
        OpenTurnObject: {
            cause: string;
            lostWorkers: number;
            sinceMs: number;
            state: string;
            threadId: string;
            turnId: string;
            userId: string;
            why: string;
            worker: string | null;
        };
        Origin: {
            name: components["schemas"]["ServerLayer"] | components["schemas"]["UserLayer"];
            version: string;
        };
        PermissionProfile: {
            allowed: boolean;
            description: null;
            id: string;
        };
        PermissionProfileListParams: Record<string, never>;
        PermissionProfileListResult: {
            data: components["schemas"]["PermissionProfile"][];
            nextCursor: null;
        };
        Plan: {
            text: string;
            /** @enum {string} */
            type: "plan";
        };
        Problem: {
            code: number;
            codexErrorInfo?: unknown;
            detail?: string;
            retryAfterMs?: number;
            status: number;
            title: string;
            type: string;
        };
        Provider: {
            baseUrl: null;
            canEdit: boolean;
            id: string;
            name: string;
            settings: components["schemas"]["ProviderSettings"];
        };
        ProviderAuth: {
            /** @enum {string} */
            mode: "externallyConfigured";
        };
        ProviderSettings: {
            auth?: components["schemas"]["ProviderAuth"];
            /** @enum {string} */
            type: "openai" | "customGateway";
        };
        RateLimitSnapshot: {
            credits: null;
            limitId: string | null;
            limitName: null;
            planType: null;
            primary: components["schemas"]["RateLimitWindow"] | null;
            rateLimitReachedType: string | null;
            secondary: components["schemas"]["RateLimitWindow"] | null;
        };
        RateLimitWindow: {
            resetsAt: number;
            usedPercent: number;
            windowDurationMins: number;
        };
        Reasoning: {
            content: string[];
            summary: string[];
            /** @enum {string} */
            type: "reasoning";
        };
        ReasoningEffort: {
            description: string;
            reasoningEffort: string;
        };
        ReasoningItem: {
            content?: components["schemas"]["ReasoningPart"][];
            encrypted_content?: string;
            summary: components["schemas"]["ReasoningPart"][];
            /** @enum {string} */
            type: "reasoning";
        };
        ReasoningPart: {
            text: string;
            /** @enum {string} */
            type: "summary_text" | "reasoning_text";
        };
        ReviewMode: {
            review: string;
            /** @enum {string} */
            type: "enteredReviewMode" | "exitedReviewMode";
        };
        ReviewStartParams: {
            /** @enum {string|null} */
            delivery?: "inline" | null;
            target: components["schemas"]["ReviewTarget"];
            threadId: string;
        };
        ReviewStartResult: {
            reviewThreadId: string;
            turn: components["schemas"]["TurnObject"];
        };
        ReviewTarget: {
            /** @default  */
            branch?: string;
            /** @default  */
            instructions?: string;
            /** @default  */
            sha?: string;
            /** @default  */
            title?: string;
            /** @enum {string} */
            type: "uncommittedChanges" | "baseBranch" | "commit" | "custom";
        };
        RunningObject: {
            name: string | null;
            preview: string;
            startedAtMs: number | null;
            threadId: string;
            turnId: string;
        };
        SandboxPolicy: {
            excludeSlashTmp?: boolean;
            excludeTmpdirEnvVar?: boolean;
            networkAccess?: boolean;
            /** @enum {string} */
            type: "readOnly" | "workspaceWrite" | "dangerFullAccess" | "externalSandbox";
            writableRoots?: string[];
        };
        SearchParams: {
            /** @default false */
            archived?: boolean;
            /** @default false */
            currentAccountOnly?: boolean;
            cursor?: string | null;
            /** @default false */
            includeAttachedThreads?: boolean;
            limit?: number | null;
            searchTerm: string;
            /**
             * @default desc
             * @enum {string}
             */
            sortDirection?: "asc" | "desc";
            /**
             * @default created_at
             * @enum {string}
             */
            sortKey?: "created_at" | "updated_at" | "recency_at";
            /** @default [] */
            sourceKinds?: ("cli" | "vscode" | "exec" | "appServer" | "subAgent" | "subAgentReview" | "subAgentCompact" | "subAgentThreadSpawn" | "subAgentOther" | "unknown")[];
        };
        SearchResult: {
            backwardsCursor: string | null;
            data: components["schemas"]["FoundThread"][];
            nextCursor: string | null;
        };
        ServerLayer: {
            id: string;
            name: string;
            /** @enum {string} */
            type: "enterpriseManaged";
        };
        ServerRequestListParams: {
            /** @default 100 */
            limit?: number;
            /**
             * @default pending
             * @enum {string}
             */
            state?: "pending" | "answered";
        };
        ServerRequestListResult: {
            data: components["schemas"]["WaitingRequest"][];
        };
        SessionResult: {
            activePermissionProfile: null;
            approvalPolicy: ("untrusted" | "on-request" | "never") | components["schemas"]["GranularPolicy"];
            approvalsReviewer: string;
            cwd: string;
            disabledPluginIds: string[];
            instructionSources: string[];
            model: string;
            modelProvider: string;
            multiAgentMode: string;
            reasoningEffort: string | null;
            runtimeWorkspaceRoots: string[];
            sandbox: components["schemas"]["SandboxPolicy"];
            serviceTier: string | null;
            thread: components["schemas"]["ThreadObject"];
        };
        ShareObject: {
            createdAt: number;
            expiresAt: number;
            id: string;
            threadId: string;
        };
        Size: {
            cols: number;
            rows: number;
        };
        SkillError: {
            message: string;
            path: string;
        };
        SkillInterface: {
            brandColor: string | null;
            defaultPrompt: string | null;
            displayName: string | null;
            iconLarge: string | null;
            iconLargeUrl: null;
            iconSmall: string | null;
            iconSmallUrl: null;
            shortDescription: string | null;
        };
        SkillMetadata: {
            description: string;
            enabled: boolean;
            interface?: components["schemas"]["SkillInterface"];
            name: string;
            path: string;
            pluginId: null;
            /** @enum {string} */
            scope: "repo" | "user" | "admin";
            shortDescription?: string;
        };
        SkillsConfigWriteParams: {
            enabled: boolean;
            /** @default  */
            name?: string;
            /** @default  */
            path?: string;
        };
        SkillsConfigWriteResult: {
            effectiveEnabled: boolean;
        };
        SkillsExtraRootsSetParams: {
            extraRoots: string[];
        };
        SkillsInstallParams: {
            dataBase64: string;
        };
        SkillsInstallResult: {
            names: string[];
        };
        SkillsListParams: {
            /** @default [] */
            cwds?: string[];
            /** @default false */
            forceReload?: boolean;
        };
        SkillsListResult: {
            data: components["schemas"]["FolderSkills"][];
        };
        SkillsUninstallParams: {
            name: string;
        };
        SpendingObject: {
            cachedInputTokens: number;
            cost: number | null;
            day: string | null;
            inputTokens: number;
            model: string | null;
            outputTokens: number;
            tokens: number;
            unpricedTokens: number;
            userId: string | null;
        };
        TextInput: {
            text: string;
            text_elements?: unknown[];
            /** @enum {string} */
            type: "text";
        };
        TextPart: {
            text: string;
            /** @enum {string} */
            type: "input_text" | "output_text";
        };
        TextRange: {
            end: number;
            start: number;
        };
        ThreadApproveGuardianDeniedActionParams: {
            event: components["schemas"]["DenialEvent"];
            threadId: string;
        };
        ThreadArchiveParams: {
            threadId: string;
        };
        ThreadBackgroundTerminalsCleanParams: {
            threadId: string;
        };
        ThreadBackgroundTerminalsListParams: {
            cursor?: string | null;
            limit?: number | null;
            threadId: string;
        };
        ThreadBackgroundTerminalsListResult: {
            data: components["schemas"]["BackgroundTerminal"][];
            nextCursor: string | null;
        };
        ThreadBackgroundTerminalsTerminateParams: {
            processId: string;
            threadId: string;
        };
        ThreadBackgroundTerminalsTerminateResult: {
            terminated: boolean;
        };
        ThreadCompactStartParams: {
            threadId: string;
        };
        ThreadDeleteParams: {
            threadId: string;
        };
        ThreadForkParams: {
            approvalPolicy?: ("untrusted" | "on-request" | "never") | components["schemas"]["GranularPolicy"] | null;
            /** @enum {string|null} */
            approvalsReviewer?: "user" | "auto_review" | "guardian_subagent" | null;
            baseInstructions?: string | null;
            beforeTurnId?: string | null;
            collaborationMode?: components["schemas"]["CollaborationMode"] | null;
            config?: {
                [key: string]: unknown;
            } | null;
            cwd?: string | null;
            developerInstructions?: string | null;
            /** @enum {string|null} */
            effort?: "none" | "minimal" | "low" | "medium" | "high" | "xhigh" | "max" | "ultra" | null;
            /** @default false */
            ephemeral?: boolean;
            /** @default false */
            excludeTurns?: boolean;
            lastTurnId?: string | null;
            model?: string | null;
            modelProvider?: string | null;
            permissions?: string | null;
            personality?: string | null;
            /** @enum {string|null} */
            sandbox?: "read-only" | "workspace-write" | "danger-full-access" | null;
            sandboxPolicy?: components["schemas"]["SandboxPolicy"] | null;
            serviceTier?: string | null;
            /** @enum {string|null} */
            summary?: "auto" | "concise" | "detailed" | "none" | null;
            threadId: string;
            threadSource?: string | null;
        };
        ThreadGoal: {
            createdAt: number;
            objective: string;
            /** @enum {string} */
            status: "active" | "paused" | "blocked" | "usageLimited" | "budgetLimited" | "complete";
            threadId: string;
            timeUsedSeconds: number;
            tokenBudget: number | null;
            tokensUsed: number;
            updatedAt: number;
        };
        ThreadGoalClearParams: {
            threadId: string;
        };
        ThreadGoalClearResult: {
            cleared: boolean;
        };
        ThreadGoalGetParams: {
            threadId: string;
        };
        ThreadGoalGetResult: {
            goal: components["schemas"]["ThreadGoal"] | null;
        };
        ThreadGoalSetParams: {
            objective?: string | null;
            /** @enum {string|null} */
            status?: "active" | "paused" | "blocked" | "usageLimited" | "budgetLimited" | "complete" | null;
            threadId: string;
            tokenBudget?: number | null;
        };
        ThreadGoalSetResult: {
            goal: components["schemas"]["ThreadGoal"] | null;
        };
        ThreadInjectItemsParams: {
            items: (components["schemas"]["Message"] | components["schemas"]["ReasoningItem"] | components["schemas"]["FunctionCall"] | components["schemas"]["CustomToolCall"] | components["schemas"]["CallOutput"])[];
            threadId: string;
        };
        ThreadItemsListParams: {
            cursor?: unknown;
            limit?: number | null;
            /**
             * @default asc
             * @enum {string}
             */
            sortDirection?: "asc" | "desc";
            threadId: string;
            turnId?: string | null;
        };
        ThreadListParams: {
            ancestorThreadId?: unknown;
            /** @default false */
            archived?: boolean;
            attachedToThreadId?: unknown;
            /** @default false */
            currentAccountOnly?: boolean;
            cursor?: string | null;
            cwd?: unknown;
            /** @default [] */
            excludedThreadIds?: string[];
            /** @default false */
            includeAttachedThreads?: boolean;
            includedThreadIds?: string[] | null;
            limit?: number | null;
            /** @default [] */
            modelProviders?: string[];
            /** @default [] */
            originators?: string[];
            parentThreadId?: unknown;
            projectId?: unknown;
            searchTerm?: string | null;
            sectionId?: unknown;
            /**
             * @default desc
             * @enum {string}
             */
            sortDirection?: "asc" | "desc";
            /**
             * @default created_at
             * @enum {string}
             */
            sortKey?: "created_at" | "updated_at" | "recency_at" | "section_position";
            /** @default [] */
            sourceKinds?: ("cli" | "vscode" | "exec" | "appServer" | "subAgent" | "subAgentReview" | "subAgentCompact" | "subAgentThreadSpawn" | "subAgentOther" | "unknown")[];
            /** @default false */
            useStateDbOnly?: boolean;
        };
        ThreadListResult: {
            backwardsCursor: string | null;
            data: components["schemas"]["ThreadObject"][];
            nextCursor: string | null;
            readStates: null;
        };
        ThreadLoadedListParams: {
            cursor?: string | null;
            limit?: number | null;
        };
        ThreadLoadedListResult: {
            data: string[];
            nextCursor: string | null;
        };
        ThreadMetadataUpdateParams: {
            gitInfo?: components["schemas"]["GitInfoChange"] | null;
            threadId: string;
        };
        ThreadNameSetParams: {
            name: string;
            threadId: string;
        };
        ThreadObject: {
            agentNickname: null;
            agentRole: null;
            attachedToThreadId: null;
            canAcceptDirectInput: boolean | null;
            cliVersion: string;
            createdAt: number;
            cwd: string;
            daybreakEnabled: null;
            environments: components["schemas"]["Environment"][] | null;
            ephemeral: boolean;
            extra: null;
            forkedFromId: string | null;
            gitInfo: components["schemas"]["GitInfo"] | null;
            historyMode: string;
            id: string;
            model: string;
            modelProvider: string;
            name: string | null;
            originator: string | null;
            parentThreadId: null;
            path: null;
            preview: string;
            projectId: null;
            reasoningEffort: string | null;
            recencyAt: number;
            section: null;
            sectionEnteredAt: null;
            sessionId: string;
            source: string;
            status: components["schemas"]["ThreadStatus"];
            threadSource: string | null;
            turns: components["schemas"]["TurnObject"][];
            updatedAt: number;
        };
        ThreadReadParams: {
            /** @default false */
            includeTurns?: boolean;
            threadId: string;
        };
        ThreadReadResult: {
            readState: null;
            thread: components["schemas"]["ThreadObject"];
        };
        ThreadResult: {
            thread: components["schemas"]["ThreadObject"];
        };
        ThreadResumeParams: {
            afterEventId?: string | null;
            approvalPolicy?: ("untrusted" | "on-request" | "never") | components["schemas"]["GranularPolicy"] | null;
            /** @enum {string|null} */
            approvalsReviewer?: "user" | "auto_review" | "guardian_subagent" | null;
            baseInstructions?: string | null;
            collaborationMode?: components["schemas"]["CollaborationMode"] | null;
            config?: {
                [key: string]: unknown;
            } | null;
            cwd?: string | null;
            developerInstructions?: string | null;
            /** @enum {string|null} */
            effort?: "none" | "minimal" | "low" | "medium" | "high" | "xhigh" | "max" | "ultra" | null;
            /** @default false */
            excludeTurns?: boolean;
            initialTurnsPage?: components["schemas"]["InitialTurnsPage"] | null;
            model?: string | null;
            modelProvider?: string | null;
            permissions?: string | null;
            personality?: string | null;
            /** @enum {string|null} */
            sandbox?: "read-only" | "workspace-write" | "danger-full-access" | null;
            sandboxPolicy?: components["schemas"]["SandboxPolicy"] | null;
            serviceTier?: string | null;
            /** @enum {string|null} */
            summary?: "auto" | "concise" | "detailed" | "none" | null;
            threadId: string;
        };
        ThreadResumeResult: {
            activePermissionProfile: null;
            approvalPolicy: ("untrusted" | "on-request" | "never") | components["schemas"]["GranularPolicy"];
            approvalsReviewer: string;
            collaborationMode: components["schemas"]["CollaborationMode"] | null;
            cwd: string;
            disabledPluginIds: string[];
            initialTurnsPage: components["schemas"]["TurnsPage"] | null;
            instructionSources: string[];
            itemsBackwardsCursor: string | null;
            model: string;
            modelProvider: string;
            multiAgentMode: string;
            reasoningEffort: string | null;
            runtimeWorkspaceRoots: string[];
            sandbox: components["schemas"]["SandboxPolicy"];
            serviceTier: string | null;
            thread: components["schemas"]["ThreadObject"];
            turnsBackwardsCursor: string | null;
        };
        ThreadRevertParams: {
            beforeTurnId: string;
            threadId: string;
        };
        ThreadRevertResult: {
            itemsBackwardsCursor: string | null;
            thread: components["schemas"]["ThreadObject"];
            turnsBackwardsCursor: string | null;
        };
        ThreadRollbackParams: {
            numTurns: number;
            threadId: string;
        };
        ThreadSearchCancelParams: {
            requestId: unknown;
        };
        ThreadSearchOccurrencesParams: {
            cursor?: string | null;
            limit?: number | null;
            searchTerm: string;
            threadId: string;
        };
        ThreadSearchOccurrencesResult: {
            data: components["schemas"]["FoundPlace"][];
            nextCursor: string | null;
        };
        ThreadSettingsUpdateParams: {
            approvalPolicy?: ("untrusted" | "on-request" | "never") | components["schemas"]["GranularPolicy"] | null;
            /** @enum {string|null} */
            approvalsReviewer?: "user" | "auto_review" | "guardian_subagent" | null;
            baseInstructions?: string | null;
            collaborationMode?: components["schemas"]["CollaborationMode"] | null;
            config?: {
                [key: string]: unknown;
            } | null;
            cwd?: string | null;
            developerInstructions?: string | null;
            /** @enum {string|null} */
            effort?: "none" | "minimal" | "low" | "medium" | "high" | "xhigh" | "max" | "ultra" | null;
            model?: string | null;
            modelProvider?: string | null;
            permissions?: string | null;
            personality?: string | null;
            /** @enum {string|null} */
            sandbox?: "read-only" | "workspace-write" | "danger-full-access" | null;
            sandboxPolicy?: components["schemas"]["SandboxPolicy"] | null;
            serviceTier?: string | null;
            /** @enum {string|null} */
            summary?: "auto" | "concise" | "detailed" | "none" | null;
            threadId: string;
        };
        ThreadShareCreateParams: {
            expiresInSeconds?: number | null;
            threadId: string;
        };
        ThreadShareCreateResult: {
            path: string;
            secret: string;
            share: components["schemas"]["ShareObject"];
        };
        ThreadShareListParams: {
            threadId: string;
        };
        ThreadShareListResult: {
            data: components["schemas"]["ShareObject"][];
        };
        ThreadShareRevokeParams: {
            shareId: string;
        };
        ThreadShareRevokeResult: Record<string, never>;
        ThreadShellCommandParams: {
            command: string;
            threadId: string;
            timeoutMs?: number | null;
        };
        ThreadStartParams: {
            approvalPolicy?: ("untrusted" | "on-request" | "never") | components["schemas"]["GranularPolicy"] | null;
            /** @enum {string|null} */
            approvalsReviewer?: "user" | "auto_review" | "guardian_subagent" | null;
            baseInstructions?: string | null;
            collaborationMode?: components["schemas"]["CollaborationMode"] | null;
            config?: {
                [key: string]: unknown;
            } | null;
            cwd?: string | null;
            developerInstructions?: string | null;
            dynamicTools?: components["schemas"]["DynamicTool"][] | null;
            /** @enum {string|null} */
            effort?: "none" | "minimal" | "low" | "medium" | "high" | "xhigh" | "max" | "ultra" | null;
            /** @default false */
            ephemeral?: boolean;
            /** @enum {string|null} */
            historyMode?: "legacy" | "paginated" | null;
            model?: string | null;
            modelProvider?: string | null;
            permissions?: string | null;
            personality?: string | null;
            /** @enum {string|null} */
            sandbox?: "read-only" | "workspace-write" | "danger-full-access" | null;
            sandboxPolicy?: components["schemas"]["SandboxPolicy"] | null;
            serviceTier?: string | null;
            /** @enum {string|null} */
            summary?: "auto" | "concise" | "detailed" | "none" | null;
            threadSource?: string | null;
        };
        ThreadStatus: {
            activeFlags?: string[];
            /** @enum {string} */
            type: "notLoaded" | "idle" | "active" | "systemError";
        };
        ThreadTurnsListParams: {
            cursor?: string | null;
            /**
             * @default summary
             * @enum {string}
             */
            itemsView?: "notLoaded" | "summary" | "full";
            limit?: number | null;
            /**
             * @default desc
             * @enum {string}
             */
            sortDirection?: "asc" | "desc";
            threadId: string;
        };
        ThreadUnarchiveParams: {
            threadId: string;
        };
        ThreadUnsubscribeParams: {
            threadId: string;
        };
        ThreadUnsubscribeResult: {
            /** @enum {string} */
            status: "unsubscribed" | "notSubscribed" | "notLoaded";
        };
        ThreadWorkspaceReadParams: {
            /**
             * @default diff
             * @enum {string}
             */
            format?: "diff" | "bundle" | "tar";
            threadId: string;
        };
        ThreadWorkspaceReadResult: {
            dataBase64: string;
            format: string;
        };
        TurnCounts: {
            parked: number;
            queued: number;
            running: number;
        };
        TurnError: {
            additionalDetails: string | null;
            codexErrorInfo: string | {
                [key: string]: {
                    [key: string]: unknown;
                };
            } | null;
            message: string;
            misalignment: null;
        };
        TurnInterruptParams: {
            threadId: string;
            turnId: string;
        };
        TurnObject: {
            completedAt: number | null;
            durationMs: number | null;
            error: components["schemas"]["TurnError"] | null;
            id: string;
            items: ((components["schemas"]["UserMessage"] | components["schemas"]["AgentMessage"] | components["schemas"]["Reasoning"] | components["schemas"]["CommandExecution"] | components["schemas"]["FileChange"] | components["schemas"]["DynamicToolCall"] | components["schemas"]["McpToolCall"] | components["schemas"]["ImageView"] | components["schemas"]["WebSearch"] | components["schemas"]["Plan"] | components["schemas"]["ReviewMode"] | components["schemas"]["ContextCompaction"] | components["schemas"]["HookPrompt"]) & components["schemas"]["ItemRow"])[];
            /** @enum {string} */
            itemsView: "notLoaded" | "summary" | "full";
            rootTurnId: string | null;
            startedAt: number | null;
            /** @enum {string} */
            status: "inProgress" | "completed" | "interrupted" | "failed";
        };
        TurnStartParams: {
            approvalPolicy?: ("untrusted" | "on-request" | "never") | components["schemas"]["GranularPolicy"] | null;
            /** @enum {string|null} */
            approvalsReviewer?: "user" | "auto_review" | "guardian_subagent" | null;
            baseInstructions?: string | null;
            clientUserMessageId?: string | null;
            collaborationMode?: components["schemas"]["CollaborationMode"] | null;
            config?: {
                [key: string]: unknown;
            } | null;
            cwd?: string | null;
            developerInstructions?: string | null;
            /** @enum {string|null} */
            effort?: "none" | "minimal" | "low" | "medium" | "high" | "xhigh" | "max" | "ultra" | null;
            input: components["schemas"]["UserInput"][];
            model?: string | null;
            modelProvider?: string | null;
            outputSchema?: {
                [key: string]: unknown;
            } | null;
            permissions?: string | null;
            personality?: string | null;
            /** @enum {string|null} */
            sandbox?: "read-only" | "workspace-write" | "danger-full-access" | null;
            sandboxPolicy?: components["schemas"]["SandboxPolicy"] | null;
            serviceTier?: string | null;
            /** @enum {string|null} */
            summary?: "auto" | "concise" | "detailed" | "none" | null;
            threadId: string;
        };
        TurnStartResult: {
            turn: components["schemas"]["TurnObject"];
        };
        TurnSteerParams: {
            clientUserMessageId?: string | null;
            expectedTurnId: string;
            input: components["schemas"]["UserInput"][];
            threadId: string;
        };
        TurnSteerResult: {
            turnId: string;
        };
        TurnWaitReadParams: {
            threadId: string;
        };
        TurnWaitReadResult: {
            wait: components["schemas"]["WaitObject"] | null;
        };
        TurnsPage: {
            backwardsCursor: string | null;
            data: components["schemas"]["TurnObject"][];
            nextCursor: string | null;
        };
        UsageReadParams: {
            fromDay?: string | null;
            /**
             * @default [
             *       "day",
             *       "model"
             *     ]
             */
            groupBy?: ("day" | "model")[];
            toDay?: string | null;
        };
        UsageReadResult: {
            currency: string;
            data: components["schemas"]["SpendingObject"][];
            fromDay: string;
            toDay: string;
        };
        UsageSummary: {
            lifetimeTokens: number;
            longestRunningTurnSec: null;
            peakDailyTokens: number;
        };
        UserInput: {
            name?: string;
            path?: string;
            text?: string;
            text_elements?: {
                [key: string]: unknown;
            }[] | null;
            /** @enum {string} */
            type: "text" | "image" | "localImage" | "skill" | "mention";
            url?: string;
        };
        UserLayer: {
            file: string;
            profile: null;
            /** @enum {string} */
            type: "user";
        };
        UserLimitObject: {
            about: string;
            default: number;
            name: string;
            own: number | null;
        };
        UserLoadObject: {
            tokensToday: number;
            turns: components["schemas"]["TurnCounts"];
            userId: string;
        };
        UserMessage: {
            clientId: string | null;
            content: (components["schemas"]["TextInput"] | components["schemas"]["ImageInput"] | components["schemas"]["LocalImageInput"] | components["schemas"]["MentionInput"])[];
            /** @enum {string} */
            type: "userMessage";
        };
        UserObject: {
            createdAtMs: number;
            disabledAtMs: number | null;
            name: string;
            role: string;
            userId: string;
        };
        UserReport: {
            attempts: number;
            classification: string;
            createdAt: number;
            duplicateOf: string | null;
            error: string | null;
            id: string;
            includeLogs: boolean;
            reason: string | null;
            status: string;
            tags: {
                [key: string]: string;
            };
            threadId: string | null;
            updatedAt: number;
            userId: string;
        };
        UserWithTurns: {
            activeTurns: number;
            createdAtMs: number;
            disabledAtMs: number | null;
            name: string;
            role: string;
            userId: string;
        };
        WaitObject: {
            cause: string;
            running: components["schemas"]["RunningObject"][];
            sinceMs: number;
            turnId: string;
            why: string;
        };
        WaitingObject: {
            cause: string | null;
            count: number | null;
            kind: string;
            queue: string;
            sinceMs: number | null;
            tasks: number | null;
            why: string | null;
            workers: number;
        };
        WaitingRequest: {
            answer: components["schemas"]["AnswerObject"] | null;
            askedAtMs: number;
            expiresAtMs: number;
            id: number;
            item: ((components["schemas"]["UserMessage"] | components["schemas"]["AgentMessage"] | components["schemas"]["Reasoning"] | components["schemas"]["CommandExecution"] | components["schemas"]["FileChange"] | components["schemas"]["DynamicToolCall"] | components["schemas"]["McpToolCall"] | components["schemas"]["ImageView"] | components["schemas"]["WebSearch"] | components["schemas"]["Plan"] | components["schemas"]["ReviewMode"] | components["schemas"]["ContextCompaction"] | components["schemas"]["HookPrompt"]) & components["schemas"]["ItemRow"]) | null;
            method: string;
            name: string | null;
            params: {
                [key: string]: unknown;
            };
            preview: string;
            threadId: string;
            turnId: string;
        };
        WebSearch: {
            action: components["schemas"]["WebSearchAction"];
            query: string;
            results: null;
            /** @enum {string} */
            type: "webSearch";
        };
        WebSearchAction: {
            pattern?: string | null;
            queries?: string[] | null;
            query?: string | null;
            /** @enum {string} */
            type: "search" | "openPage" | "findInPage" | "other";
            url?: string | null;
        };
        WorkerCounts: {
            broken: number;
            draining: number;
            lost: number;
            ready: number;
        };
        WorkerObject: {
            name: string;
            problem: string | null;
            queues: string[];
            seenAtMs: number;
            slots: number;
            startedAtMs: number;
            state: string;
            turns: number;
            version: string;
        };
        Methods: {
            "account/bedrock/checkGovCloudRequirements": {
                params: Record<string, never>;
                result: Record<string, never>;
            };
            "account/rateLimits/read": {
                params: components["schemas"]["AccountRateLimitsReadParams"];
                result: components["schemas"]["AccountRateLimitsReadResult"];
            };
            "account/read": {
                params: components["schemas"]["AccountReadParams"];
                result: components["schemas"]["AccountReadResult"];
            };
            "account/usage/read": {
                params: components["schemas"]["AccountUsageReadParams"];
                result: components["schemas"]["AccountUsageReadResult"];
            };
            "account/workspaceMessages/read": {
                params: Record<string, never>;
                result: Record<string, never>;
            };
            "admin/alerts/list": {
                params: components["schemas"]["AdminAlertsListParams"];
                result: components["schemas"]["AdminAlertsListResult"];
            };
            "admin/audit/list": {
                params: components["schemas"]["AdminAuditListParams"];
                result: components["schemas"]["AdminAuditListResult"];
            };
            "admin/endedTurn/list": {
                params: components["schemas"]["AdminEndedTurnListParams"];
                result: components["schemas"]["AdminEndedTurnListResult"];
            };
            "admin/erasure/list": {
                params: components["schemas"]["AdminErasureListParams"];
                result: components["schemas"]["AdminErasureListResult"];
            };
            "admin/feedback/list": {
                params: components["schemas"]["AdminFeedbackListParams"];
                result: components["schemas"]["AdminFeedbackListResult"];
            };
            "admin/feedback/retry": {
                params: components["schemas"]["AdminFeedbackRetryParams"];
                result: components["schemas"]["AdminFeedbackRetryResult"];
            };
            "admin/key/create": {
                params: components["schemas"]["AdminKeyCreateParams"];
                result: components["schemas"]["AdminKeyCreateResult"];
            };
            "admin/key/list": {
                params: components["schemas"]["AdminKeyListParams"];
                result: components["schemas"]["AdminKeyListResult"];
            };
            "admin/key/revoke": {
                params: components["schemas"]["AdminKeyRevokeParams"];
                result: components["schemas"]["AdminKeyRevokeResult"];
            };
            "admin/overview/read": {
                params: components["schemas"]["AdminOverviewReadParams"];
                result: components["schemas"]["AdminOverviewReadResult"];
            };
            "admin/queue/read": {
                params: components["schemas"]["AdminQueueReadParams"];
                result: components["schemas"]["AdminQueueReadResult"];
            };
            "admin/turn/interrupt": {
                params: components["schemas"]["AdminTurnInterruptParams"];
                result: components["schemas"]["AdminTurnInterruptResult"];
            };
            "admin/turn/list": {
                params: components["schemas"]["AdminTurnListParams"];
                result: components["schemas"]["AdminTurnListResult"];
            };
            "admin/turn/read": {
                params: components["schemas"]["AdminTurnReadParams"];
                result: components["schemas"]["AdminTurnReadResult"];
            };
            "admin/turn/requeue": {
                params: components["schemas"]["AdminTurnRequeueParams"];
                result: components["schemas"]["AdminTurnRequeueResult"];
            };
            "admin/usage/read": {
                params: components["schemas"]["AdminUsageReadParams"];
                result: components["schemas"]["AdminUsageReadResult"];
            };
            "admin/user/add": {
                params: components["schemas"]["AdminUserAddParams"];
                result: components["schemas"]["AdminUserAddResult"];
            };
            "admin/user/disable": {
                params: components["schemas"]["AdminUserDisableParams"];
                result: components["schemas"]["AdminUserDisableResult"];
            };
            "admin/user/enable": {
                params: components["schemas"]["AdminUserEnableParams"];
                result: components["schemas"]["AdminUserEnableResult"];
            };
            "admin/user/list": {
                params: components["schemas"]["AdminUserListParams"];
                result: components["schemas"]["AdminUserListResult"];
            };
            "admin/userLimits/read": {
                params: components["schemas"]["AdminUserLimitsReadParams"];
                result: components["schemas"]["AdminUserLimitsReadResult"];
            };
            "admin/userLimits/set": {
                params: components["schemas"]["AdminUserLimitsSetParams"];
                result: components["schemas"]["AdminUserLimitsSetResult"];
            };
            "admin/webhook/list": {
                params: components["schemas"]["AdminWebhookListParams"];
                result: components["schemas"]["AdminWebhookListResult"];
            };
            "admin/webhook/replay": {
                params: components["schemas"]["AdminWebhookReplayParams"];
                result: components["schemas"]["AdminWebhookReplayResult"];
            };
            "admin/worker/list": {
                params: components["schemas"]["AdminWorkerListParams"];
                result: components["schemas"]["AdminWorkerListResult"];
            };
            "app/installed": {
                params: Record<string, never>;
                result: Record<string, never>;
            };
            "app/list": {
                params: Record<string, never>;
                result: Record<string, never>;
            };
            "collaborationMode/list": {
                params: Record<string, never>;
                result: Record<string, never>;
            };
            "command/exec": {
                params: components["schemas"]["CommandExecParams"];
                result: components["schemas"]["CommandExecResult"];
            };
            "command/exec/resize": {
                params: components["schemas"]["CommandExecResizeParams"];
                result: components["schemas"]["Empty"];
            };
            "command/exec/terminate": {
                params: components["schemas"]["CommandExecTerminateParams"];
                result: components["schemas"]["Empty"];
            };
            "command/exec/write": {
                params: components["schemas"]["CommandExecWriteParams"];
                result: components["schemas"]["Empty"];
            };
            "config/batchWrite": {
                params: components["schemas"]["ConfigBatchWriteParams"];
                result: components["schemas"]["ConfigValueWriteResult"];
            };
            "config/mcpServer/reload": {
                params: components["schemas"]["ConfigMcpServerReloadParams"];
                result: components["schemas"]["Empty"];
            };
            "config/read": {
                params: components["schemas"]["ConfigReadParams"];
                result: components["schemas"]["ConfigReadResult"];
            };
            "config/value/write": {
                params: components["schemas"]["ConfigValueWriteParams"];
                result: components["schemas"]["ConfigValueWriteResult"];
            };
            "configRequirements/read": {
                params: components["schemas"]["ConfigRequirementsReadParams"];
                result: components["schemas"]["ConfigRequirementsReadResult"];
            };
            "erasure/list": {
                params: components["schemas"]["ErasureListParams"];
                result: components["schemas"]["ErasureListResult"];
            };
            "experimentalFeature/list": {
                params: Record<string, never>;
                result: Record<string, never>;
            };
            "feedback/list": {
                params: components["schemas"]["FeedbackListParams"];
                result: components["schemas"]["FeedbackListResult"];
            };
            "feedback/read": {
                params: components["schemas"]["FeedbackReadParams"];
                result: components["schemas"]["FeedbackReadResult"];
            };
            "feedback/upload": {
                params: components["schemas"]["FeedbackUploadParams"];
                result: components["schemas"]["FeedbackUploadResult"];
            };
            "fs/copy": {
                params: components["schemas"]["FsCopyParams"];
                result: components["schemas"]["Empty"];
            };
            "fs/createDirectory": {
                params: components["schemas"]["FsCreateDirectoryParams"];
                result: components["schemas"]["Empty"];
            };
            "fs/getMetadata": {
                params: components["schemas"]["FsGetMetadataParams"];
                result: components["schemas"]["FsGetMetadataResult"];
            };
            "fs/readDirectory": {
                params: components["schemas"]["FsReadDirectoryParams"];
                result: components["schemas"]["FsReadDirectoryResult"];
            };
            "fs/readFile": {
                params: components["schemas"]["FsReadFileParams"];
                result: components["schemas"]["FsReadFileResult"];
            };
            "fs/remove": {
                params: components["schemas"]["FsRemoveParams"];
                result: components["schemas"]["Empty"];
            };
            "fs/writeFile": {
                params: components["schemas"]["FsWriteFileParams"];
                result: components["schemas"]["Empty"];
            };
            fuzzyFileSearch: {
                params: components["schemas"]["FuzzyFileSearchParams"];
                result: components["schemas"]["FuzzyFileSearchResult"];
            };
            "fuzzyFileSearch/sessionStart": {
                params: components["schemas"]["FuzzyFileSearchSessionStartParams"];
                result: components["schemas"]["Empty"];
            };
            "fuzzyFileSearch/sessionStop": {
                params: components["schemas"]["FuzzyFileSearchSessionStopParams"];
                result: components["schemas"]["Empty"];
            };
            "fuzzyFileSearch/sessionUpdate": {
                params: components["schemas"]["FuzzyFileSearchSessionUpdateParams"];
                result: components["schemas"]["Empty"];
            };
            getAuthStatus: {
                params: Record<string, never>;
                result: Record<string, never>;
            };
            gitDiffToRemote: {
                params: components["schemas"]["GitDiffToRemoteParams"];
                result: components["schemas"]["GitDiffToRemoteResult"];
            };
            "hooks/list": {
                params: components["schemas"]["HooksListParams"];
                result: components["schemas"]["HooksListResult"];
            };
            initialize: {
                params: components["schemas"]["InitializeParams"];
                result: components["schemas"]["InitializeResult"];
            };
            "mcpServer/oauth/login": {
                params: components["schemas"]["McpServerOauthLoginParams"];
                result: components["schemas"]["McpServerOauthLoginResult"];
            };
            "mcpServer/oauth/logout": {
                params: components["schemas"]["McpServerOauthLogoutParams"];
                result: components["schemas"]["McpServerOauthLogoutResult"];
            };
            "mcpServer/resource/read": {
                params: components["schemas"]["McpServerResourceReadParams"];
                result: components["schemas"]["McpServerResourceReadResult"];
            };
            "mcpServer/tool/call": {
                params: components["schemas"]["McpServerToolCallParams"];
                result: components["schemas"]["McpServerToolCallResult"];
            };
            "mcpServerStatus/list": {
                params: components["schemas"]["McpServerStatusListParams"];
                result: components["schemas"]["McpServerStatusListResult"];
            };
            "memory/status": {
                params: Record<string, never>;
                result: Record<string, never>;
            };
            "model/list": {
                params: components["schemas"]["ModelListParams"];
                result: components["schemas"]["ModelListResult"];
            };
            "modelProvider/capabilities/read": {
                params: components["schemas"]["ModelProviderCapabilitiesReadParams"];
                result: components["schemas"]["ModelProviderCapabilitiesReadResult"];
            };
            "modelProvider/default/set": {
                params: components["schemas"]["ModelProviderDefaultSetParams"];
                result: components["schemas"]["ConfigValueWriteResult"];
            };
            "modelProvider/list": {
                params: components["schemas"]["ModelProviderListParams"];
                result: components["schemas"]["ModelProviderListResult"];
            };
            "permissionProfile/list": {
                params: components["schemas"]["PermissionProfileListParams"];
                result: components["schemas"]["PermissionProfileListResult"];
            };
            "plugin/installed": {
                params: Record<string, never>;
                result: Record<string, never>;
            };
            "plugin/list": {
                params: Record<string, never>;
                result: Record<string, never>;
            };
            "project/list": {
                params: Record<string, never>;
                result: Record<string, never>;
            };
            "review/start": {
                params: components["schemas"]["ReviewStartParams"];
                result: components["schemas"]["ReviewStartResult"];
            };
            "serverRequest/list": {
                params: components["schemas"]["ServerRequestListParams"];
                result: components["schemas"]["ServerRequestListResult"];
            };
            "serverRequest/respond": {
                params: {
                    requestId: number;
                    result: Record<string, never>;
                };
                result: Record<string, never>;
            };
            "skills/config/write": {
                params: components["schemas"]["SkillsConfigWriteParams"];
                result: components["schemas"]["SkillsConfigWriteResult"];
            };
            "skills/extraRoots/set": {
                params: components["schemas"]["SkillsExtraRootsSetParams"];
                result: components["schemas"]["Empty"];
            };
            "skills/install": {
                params: components["schemas"]["SkillsInstallParams"];
                result: components["schemas"]["SkillsInstallResult"];
            };
            "skills/list": {
                params: components["schemas"]["SkillsListParams"];
                result: components["schemas"]["SkillsListResult"];
            };
            "skills/uninstall": {
                params: components["schemas"]["SkillsUninstallParams"];
                result: components["schemas"]["Empty"];
            };
            "thread/approveGuardianDeniedAction": {
                params: components["schemas"]["ThreadApproveGuardianDeniedActionParams"];
                result: components["schemas"]["Empty"];
            };
            "thread/archive": {
                params: components["schemas"]["ThreadArchiveParams"];
                result: components["schemas"]["Empty"];
            };
            "thread/backgroundTerminals/clean": {
                params: components["schemas"]["ThreadBackgroundTerminalsCleanParams"];
                result: components["schemas"]["Empty"];
            };
            "thread/backgroundTerminals/list": {
                params: components["schemas"]["ThreadBackgroundTerminalsListParams"];
                result: components["schemas"]["ThreadBackgroundTerminalsListResult"];
            };
            "thread/backgroundTerminals/terminate": {
                params: components["schemas"]["ThreadBackgroundTerminalsTerminateParams"];
                result: components["schemas"]["ThreadBackgroundTerminalsTerminateResult"];
            };
            "thread/compact/start": {
                params: components["schemas"]["ThreadCompactStartParams"];
                result: components["schemas"]["Empty"];
            };
            "thread/delete": {
                params: components["schemas"]["ThreadDeleteParams"];
                result: components["schemas"]["Empty"];
            };
            "thread/fork": {
                params: components["schemas"]["ThreadForkParams"];
                result: components["schemas"]["SessionResult"];
            };
            "thread/goal/clear": {
                params: components["schemas"]["ThreadGoalClearParams"];
                result: components["schemas"]["ThreadGoalClearResult"];
            };
            "thread/goal/get": {
                params: components["schemas"]["ThreadGoalGetParams"];
                result: components["schemas"]["ThreadGoalGetResult"];
            };
            "thread/goal/set": {
                params: components["schemas"]["ThreadGoalSetParams"];
                result: components["schemas"]["ThreadGoalSetResult"];
            };
            "thread/inject_items": {
                params: components["schemas"]["ThreadInjectItemsParams"];
                result: components["schemas"]["Empty"];
            };
            "thread/items/list": {
                params: components["schemas"]["ThreadItemsListParams"];
                result: components["schemas"]["ItemsPage"];
            };
            "thread/list": {
                params: components["schemas"]["ThreadListParams"];
                result: components["schemas"]["ThreadListResult"];
            };
            "thread/loaded/list": {
                params: components["schemas"]["ThreadLoadedListParams"];
                result: components["schemas"]["ThreadLoadedListResult"];
            };
            "thread/metadata/update": {
                params: components["schemas"]["ThreadMetadataUpdateParams"];
                result: components["schemas"]["ThreadResult"];
            };
            "thread/name/set": {
                params: components["schemas"]["ThreadNameSetParams"];
                result: components["schemas"]["Empty"];
            };
            "thread/read": {
                params: components["schemas"]["ThreadReadParams"];
                result: components["schemas"]["ThreadReadResult"];
            };
            "thread/readState/update": {
                params: Record<string, never>;
                result: Record<string, never>;
            };
            "thread/resume": {
                params: components["schemas"]["ThreadResumeParams"];
                result: components["schemas"]["ThreadResumeResult"];
            };
            "thread/revert": {
                params: components["schemas"]["ThreadRevertParams"];
                result: components["schemas"]["ThreadRevertResult"];
            };
            "thread/rollback": {
                params: components["schemas"]["ThreadRollbackParams"];
                result: components["schemas"]["ThreadResult"];
            };
            "thread/search": {
                params: components["schemas"]["SearchParams"];
                result: components["schemas"]["SearchResult"];
            };
            "thread/search/cancel": {
                params: components["schemas"]["ThreadSearchCancelParams"];
                result: components["schemas"]["Empty"];
            };
            "thread/search/stream": {
                params: components["schemas"]["SearchParams"];
                result: components["schemas"]["SearchResult"];
            };
            "thread/search/stream/cancel": {
                params: components["schemas"]["ThreadSearchCancelParams"];
                result: components["schemas"]["Empty"];
            };
            "thread/searchOccurrences": {
                params: components["schemas"]["ThreadSearchOccurrencesParams"];
                result: components["schemas"]["ThreadSearchOccurrencesResult"];
            };
            "thread/settings/update": {
                params: components["schemas"]["ThreadSettingsUpdateParams"];
                result: components["schemas"]["Empty"];
            };
            "thread/share/create": {
                params: components["schemas"]["ThreadShareCreateParams"];
                result: components["schemas"]["ThreadShareCreateResult"];
            };
            "thread/share/list": {
                params: components["schemas"]["ThreadShareListParams"];
                result: components["schemas"]["ThreadShareListResult"];
            };
            "thread/share/revoke": {
                params: components["schemas"]["ThreadShareRevokeParams"];
                result: components["schemas"]["ThreadShareRevokeResult"];
            };
            "thread/shellCommand": {
                params: components["schemas"]["ThreadShellCommandParams"];
                result: components["schemas"]["Empty"];
            };
            "thread/start": {
                params: components["schemas"]["ThreadStartParams"];
                result: components["schemas"]["SessionResult"];
            };
            "thread/turns/list": {
                params: components["schemas"]["ThreadTurnsListParams"];
                result: components["schemas"]["TurnsPage"];
            };
            "thread/unarchive": {
                params: components["schemas"]["ThreadUnarchiveParams"];
                result: components["schemas"]["ThreadResult"];
            };
            "thread/unsubscribe": {
                params: components["schemas"]["ThreadUnsubscribeParams"];
                result: components["schemas"]["ThreadUnsubscribeResult"];
            };
            "thread/workspace/read": {
                params: components["schemas"]["ThreadWorkspaceReadParams"];
                result: components["schemas"]["ThreadWorkspaceReadResult"];
            };
            "threadSection/list": {
                params: Record<string, never>;
                result: Record<string, never>;
            };
            "turn/interrupt": {
                params: components["schemas"]["TurnInterruptParams"];
                result: components["schemas"]["Empty"];
            };
            "turn/start": {
                params: components["schemas"]["TurnStartParams"];
                result: components["schemas"]["TurnStartResult"];
            };
            "turn/steer": {
                params: components["schemas"]["TurnSteerParams"];
                result: components["schemas"]["TurnSteerResult"];
            };
            "turn/wait/read": {
                params: components["schemas"]["TurnWaitReadParams"];
                result: components["schemas"]["TurnWaitReadResult"];
            };
            "usage/read": {
                params: components["schemas"]["UsageReadParams"];
                result: components["schemas"]["UsageReadResult"];
            };
            "workspace/archive": {
                params: Record<string, never>;
                result: Record<string, never>;
            };
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export type operations = Record<string, never>;
