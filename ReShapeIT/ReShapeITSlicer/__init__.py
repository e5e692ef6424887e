"""Scene side of ReShapeIT: what panel, Python console and tests call to refine segments of a Slicer scene.

No Qt, no ``slicer.app`` and no ``slicer.mrmlScene`` in here: scene, nodes and options are arguments, so that the
same code runs in Slicer and on the Slicer core alone. Computing is done by the ``reshapeit`` command in a process of
its own.

Usage::

    from ReShapeITSlicer.refinement import RefinementOptions, RefinementTask

    task = RefinementTask(scene, segmentationNode, {"Segment_1": "liver"}, RefinementOptions(preset="draft"))
    task.start()                        # checks and export; RefinementError with one sentence if anything is wrong
    while not task.poll().isFinished:   # a panel calls poll() from a QTimer every 100 ms and goes on with its work
        ...                             # task.status.stage, .fraction, .secondsLeft, .message
    if task.status.state == "done":
        for row in task.summary():      # SummaryRow of each segment
            print(row.name, row.volumeBeforeMl, row.volumeAfterMl, row.largestMoveMm)
        task.blend("Segment_1", 0.5)    # halfway between input and refined
        task.accept("Segment_1")        # or task.reject("Segment_1")

or blocking, from the Python console::

    from ReShapeITSlicer.console import ReShapeITLogic
    task = ReShapeITLogic(scene).refine(segmentationNode, {"Segment_1": "liver"})

Public API (module: names)::

    errors:      RefinementError(Exception)            str(error) is one sentence for the user; the scene is unchanged
                 error.code                            which error it is, e.g. "implausible"; "" where nobody needs it

    options:     RefinementOptions(preset="standard", device="auto", resultMode=NEW_SEGMENTS,
                                   overlapPolicy=KEEP_NEIGHBOURS, keepUnion=False,
                                   force=False, sparse=False, seed=0, nonCommercial=False); a frozen dataclass
                 PRESETS, DEVICES                                                    tuples of what the command takes
                 NEW_SEGMENTS, IN_PLACE, NEW_SEGMENTATION, RESULT_MODES              strings
                 TAKE_FROM_NEIGHBOURS, KEEP_NEIGHBOURS, ALLOW_OVERLAP, OVERLAP_POLICIES        strings

    engine:      EngineSettings(pythonExecutable=None, environment=None, extraArguments=(), temporaryFolder=None)
                 EngineStatus(state, stage, fraction, secondsLeft, message, code)    state: "running" or as below
                 Engine(settings).start(arguments), .poll(), .wait(callback), .cancel(), .notices, .error, .log

    refinement:  RefinementTask(scene, segmentationNode, templates, options=None, referenceVolumeNode=None,
                                engineSettings=None, segmentationsLogic=None, imageNode=None)
                     templates: {segment id: template name or file}
                     imageNode: volume that was segmented, which is asked where the organ ends; None for shape alone
                     referenceVolumeNode: None takes the segmentation's own reference volume or geometry
                 task.start()                       raises RefinementError
                 task.poll() -> TaskStatus          never raises; also imports the result when the engine is done
                 task.wait(callback=None) -> TaskStatus              callback(status) about ten times a second
                 task.cancel()                      the engine is gone within a second, the scene is as it was
                 task.status -> TaskStatus(state, stage, fraction, secondsLeft, message, code)
                     state: "idle", "running", "done", "failed", "cancelled"; .isFinished; message is the one sentence
                 task.notices -> tuple of sentences that the user should read (licences, change of device, fall-backs)
                 task.log -> text for a report of a fault, also of a run that is done: commands, versions, all that
                     the engine wrote, exit codes, tracebacks
                 task.review -> Review, once the state is "done"; its methods are also the task's:
                 task.summary() -> list of SummaryRow
                 task.accept(segmentId), task.reject(segmentId), task.blend(segmentId, fraction)   0 input .. 1 refined
                 task.nextLargestChange() -> Change(segmentId, positionRas, changeMm) in world RAS, or None; goes round
                 task.setOpacity(before, after)     0..1, of the input and of the result segments; with a third
                                                    argument True the change map is shown, in 3D in place of both
                 task.undo()                        takes everything the task did to the scene back
                 task.log                           what the engine was called with and wrote, a text
                 task.review.close()                ends the review; the results stay
                 task.review.keepChangeMap() -> ids of the models of the change map, which stay in the scene
                 task.review.centreOf(segmentId) -> world RAS mm, or None
                 task.resultSegmentationNode        node that holds the results
                 SummaryRow(segmentId, resultSegmentId, modelNodeId, name, organ, volumeBeforeMl, volumeAfterMl,
                            largestMoveMm, meanMoveMm, dscToInput, plausibility, isPlausible, licence, nonCommercial,
                            device, deviceReason, state, image)      state: "pending", "accepted", "rejected"
                     image: what the image said, "" where none was asked: "used", "unchanged", "uncertain", "no_model",
                     "modality", "sparse"

    templates:   availableTemplates() -> list of TemplateChoice(name, organ, snomedCode, licence, nonCommercial, file)
                 (reads the headers of the template files; no torch)
    console:     ReShapeITLogic(scene=None, temporaryFolder=None).refine(segmentationNode, templates, progress=print,
                 referenceVolumeNode=None, image=None, **options) -> RefinementTask
                 blocking; templates by segment id or name; raises RefinementError
    review.export: summaryTable(rows), writeTable(path, rows), addTableNode(scene, rows)
    exchange.image: proposedImage(scene, segmentationNode) -> the volume that it was made on, or None
    exchange.folders: removeLeftovers(folder=None) -> number of folders that earlier sessions left and that are gone now
    processTree: quietProcess(ownGroup=False) -> keyword arguments of subprocess: no console window on Windows
    wording:     inWords(told, names=None) -> what the engine told by code and fields as a sentence

Segments keep id, name, colour, terminology and tags: in place everything, in a new segmentation everything, as new
segments all but id (``<id>_refined``) and name (``<name> (refined)``). The change map is a model node with the point
scalars ``signed_change_mm`` and ``confidence`` under the segmentation's transform.
"""
